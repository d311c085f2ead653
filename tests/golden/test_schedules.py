"""Schedules against closed forms: input, expected, where the number comes from."""

import math

import pytest
import torch
from torch import nn

from polytask.optim import constant, cosine, coslog4, flat_cosine, linear, piecewise, warmed_up

TABLE = [
    # schedule, position, expected, source
    (constant(), 0.7, 1.0, "definition"),
    (cosine(), 0.0, 1.0, "½ (1 + cos 0)"),
    (cosine(), 1 / 3, 0.75, "½ (1 + cos 60°)"),
    (cosine(), 0.5, 0.5, "½ (1 + cos 90°)"),
    (cosine(), 1.0, 0.0, "½ (1 + cos 180°)"),
    (flat_cosine(), 0.25, 1.0, "flat half"),
    (flat_cosine(), 0.5, 1.0, "the corner"),
    (flat_cosine(), 2 / 3, 0.75, "½ (1 + cos 60°)"),
    (flat_cosine(), 1.0, 0.0, "½ (1 + cos 180°)"),
    (coslog4(), 0.0, 0.0, "½ (1 − cos 0)"),
    (coslog4(), (math.sqrt(2) - 1) / 15, 1.0, "log₂√2 = ½: first peak"),
    (coslog4(), 1 / 15, 0.0, "log₂2 = 1: first valley"),
    (coslog4(), 3 / 15, 0.0, "log₂4 = 2: second valley"),
    (coslog4(), (2**3.5 - 1) / 15, 1.0, "last peak"),
    (coslog4(), 1.0, 0.0, "log₂16 = 4"),
    (warmed_up(constant(), 0.1), 0.025, 0.25, "linear rise"),
    (piecewise([(0, 1), (10, 0.5), (20, 0)]), 19.999, 0.5, "step holds until the next"),
    (piecewise([(0, 1), (10, 0.5), (20, 0)]), 20, 0.0, "step starts at its point"),
    (piecewise([(5, 0.3)]), 0, 0.3, "first factor before the first point"),
    (linear([(2, 1.0), (6, 3.0)]), 3, 1.5, "one quarter of the way"),
    (linear([(2, 1.0), (6, 3.0)]), 9, 3.0, "constant after the last point"),
    (linear([(0, 1.0), (1, 0.0), (3, 4.0)]), 2, 2.0, "second segment"),
]


@pytest.mark.parametrize(("schedule", "position", "expected", "source"), TABLE)
def test_value(schedule, position, expected, source):
    assert schedule(position) == pytest.approx(expected, abs=1e-12), source


def test_cosine_is_torchs_cosine_annealing():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(21):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(cosine()(step / 20), abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_flat_cosine_without_the_flat_half_is_another_curve():
    """The mutation: cosine from the start."""
    assert abs(flat_cosine()(0.5) - cosine()(0.5)) == pytest.approx(0.5)
