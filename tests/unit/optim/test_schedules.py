"""Schedules: their rules and their sentences; values are in tests/golden."""

import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument
from polytask.optim import (
    Plateau,
    constant,
    cosine,
    coslog4,
    flat_cosine,
    linear,
    piecewise,
    product,
    warmed_up,
)


@pytest.mark.parametrize("schedule", [cosine(), flat_cosine(), coslog4()])
def test_positions_outside_the_run_are_clamped(schedule):
    assert schedule(-0.5) == schedule(0.0)
    assert schedule(1.0000001) == pytest.approx(schedule(1.0), abs=1e-12)


def test_warm_up_multiplies():
    schedule = warmed_up(cosine(), 0.2)
    assert schedule(0.0) == 0.0
    assert schedule(0.1) == pytest.approx(0.5 * cosine()(0.1))
    assert schedule(0.7) == cosine()(0.7)
    plain = cosine()
    assert warmed_up(plain, 0.0) is plain


def test_product_of_three():
    assert product(constant(0.5), constant(0.5), linear([(0, 0), (2, 2)]))(1.0) == 0.25


@pytest.mark.parametrize("make", [piecewise, linear])
@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0, 1.0), (0, 2.0)],
        [(5, 1.0), (1, 2.0)],
        [(0, -1.0)],
        [(0, float("nan"))],
        [(float("inf"), 1.0)],
    ],
)
def test_bad_points_are_refused(make, points):
    with pytest.raises(InvalidArgument, match="points"):
        make(points)


def test_other_bad_arguments_are_refused():
    for call in (
        lambda: constant(-1),
        lambda: warmed_up(constant(), 1.0),
        product,
        lambda: Plateau(factor=1.0),
        lambda: Plateau(patience=0),
        lambda: Plateau(minimum=2.0),
    ):
        with pytest.raises(InvalidArgument):
            call()


SCORES = [5.0, 4.0, 4.0, 4.5, float("nan"), 3.0, 3.0, 3.0, 3.0, 3.0, 2.9, 3.0, 3.0, 3.0]


def test_plateau_follows_torch_with_one_epoch_less_patience():
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, threshold=0.0
    )
    ours = Plateau(factor=0.5, patience=2)
    for score in SCORES:
        theirs.step(score)
        assert ours.observe(score) == optimizer.param_groups[0]["lr"]
    assert ours.rate < 0.5


def test_plateau_resumes_exactly_and_respects_its_floor():
    whole, first = Plateau(0.5, 2, minimum=0.3), Plateau(0.5, 2, minimum=0.3)
    expected = [whole.observe(score) for score in SCORES]
    for stop in range(len(SCORES)):
        first = Plateau(0.5, 2, minimum=0.3)
        for score in SCORES[:stop]:
            first.observe(score)
        second = Plateau(0.5, 2, minimum=0.3)
        second.load_state_dict(first.state_dict())
        assert [second.observe(score) for score in SCORES[stop:]] == expected[stop:]
    assert min(expected) == 0.3
    with pytest.raises(InvalidArgument, match="state_dict"):
        first.load_state_dict({"rate": 1.0})
