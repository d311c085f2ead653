"""C-Mixup: how often each partner is drawn, against probabilities computed pair by pair."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from polytask.data.batch import Batch
from polytask.errors import InvalidArgument
from polytask.regularization.inputs import CMixup, Mixing

NAN = float("nan")
Y = torch.tensor(
    [[0.0, 0.5], [0.3, NAN], [1.0, 0.4], [-0.5, 1.5], [NAN, 0.0], [2.0, NAN], [NAN, NAN]]
)
Z = torch.tensor([[0.1], [NAN], [NAN], [0.9], [NAN], [0.4], [NAN]])
DRAWS = 6000


def batch(*targets: Tensor, rows: int = 7) -> Batch:
    names = [f"g{number}" for number in range(len(targets))]
    return Batch(
        torch.randn(rows, 2),
        dict(zip(names, targets, strict=True)),
        {name: ~target.isnan() for name, target in zip(names, targets, strict=True)},
        None,
        torch.arange(rows),
    )


def probabilities(
    targets: np.ndarray,
    s: float,
    *,
    factor: float = 2.0,
    itself: bool = False,
    apart: float = math.inf,
    power: float = 2.0,
) -> np.ndarray:
    """Pair by pair, from the formula; the options make it wrong."""
    rows = len(targets)
    result = np.zeros((rows, rows))
    for i in range(rows):
        for j in range(rows):
            common = ~np.isnan(targets[i]) & ~np.isnan(targets[j])
            squared = float((np.abs(targets[i] - targets[j])[common] ** power).sum())
            distance = squared if common.any() else apart
            if i != j or itself:
                result[i, j] = math.exp(-distance / (factor * s**2))
        if result[i].sum() == 0:
            result[i] = 1.0
            result[i, i] = 0.0
    return result / result.sum(1, keepdims=True)


def frequencies(technique: CMixup, given: Batch) -> np.ndarray:
    torch.manual_seed(0)
    counts = np.zeros((7, 7))
    for _ in range(DRAWS):
        partner = technique(given)[1].partner.numpy()
        counts[np.arange(7), partner] += 1
    return counts / DRAWS


@pytest.fixture(scope="module")
def observed() -> np.ndarray:
    return frequencies(CMixup(bandwidth=0.7, groups=["g0", "g1"]), batch(Y, Z))


def check(observed: np.ndarray, expected: np.ndarray) -> None:
    error = np.abs(observed - expected)
    assert (error <= 5 * np.sqrt(expected * (1 - expected) / DRAWS) + 1e-12).all()


BOTH = torch.cat([Y, Z], 1).numpy()


def test_partners_are_drawn_by_the_distance_of_their_targets(observed):
    check(observed, probabilities(BOTH, 0.7))


def test_the_row_without_labels_draws_uniformly(observed):
    assert np.abs(observed[6, :6] - 1 / 6).max() < 0.03


@pytest.mark.parametrize(
    "wrong",
    [
        probabilities(BOTH, 0.7, factor=1.0),
        probabilities(BOTH, 0.7, itself=True),
        probabilities(BOTH, 0.7, apart=0.0),
        probabilities(BOTH, 0.7, power=1.0),
        probabilities(Y.numpy(), 0.7),
        probabilities(BOTH, 0.8),
    ],
    ids=["no 2", "itself", "gaps are near", "not squared", "one group", "bandwidth"],
)
def test_wrong_probabilities_are_told_apart(observed, wrong):
    with pytest.raises(AssertionError):
        check(observed, wrong)


def test_rows_are_mixed_with_one_share():
    torch.manual_seed(0)
    given = batch(Y)
    after, mixing = CMixup(groups=["g0"])(given)
    assert isinstance(mixing, Mixing)
    share, x = mixing.share, given.inputs
    torch.testing.assert_close(after.inputs, share * x + (1.0 - share) * x[mixing.partner])
    assert isinstance(mixing.share, float)
    assert bool((mixing.partner != torch.arange(7)).all())


def test_a_tiny_bandwidth_takes_the_nearest_row():
    """Although every probability underflows."""
    y = torch.tensor([[0.0], [10.0], [25.0], [45.0], [70.0], [100.0], [135.0]])
    _, mixing = CMixup(bandwidth=1e-3, groups=["g0"])(batch(y))
    assert mixing.partner.tolist() == [1, 0, 1, 2, 3, 4, 5]


def test_an_absurd_outlier_still_has_a_partner():
    y = torch.tensor([[0.0], [0.1], [1e30], [0.3], [0.4], [0.5], [-1e30]])
    for _ in range(20):
        partner = CMixup(bandwidth=0.01, groups=["g0"])(batch(y))[1].partner
        assert bool((partner != torch.arange(7)).all())
        assert set(partner[[0, 1, 3, 4, 5]].tolist()) <= {0, 1, 3, 4, 5}


def test_what_lies_in_a_gap_does_not_matter():
    def partners(filled: float) -> list[int]:
        torch.manual_seed(4)
        given = batch(Y)
        targets = {"g0": torch.where(given.masks["g0"], Y, filled)}
        return CMixup(groups=["g0"])(given._replace(targets=targets))[1].partner.tolist()

    assert partners(0.0) == partners(1e9) == partners(NAN)


def test_a_batch_of_one_row_is_left_alone():
    given = batch(torch.zeros(1, 1), rows=1)
    assert CMixup(groups=["g0"])(given) == (given, None)


def test_two_rows_without_common_labels_take_each_other():
    given = batch(torch.tensor([[1.0, NAN], [NAN, 1.0]]), rows=2)
    assert CMixup(groups=["g0"])(given)[1].partner.tolist() == [1, 0]


def test_arguments_are_checked():
    for arguments, words in (
        ({"groups": []}, "at least one group"),
        ({"groups": "g0"}, "at least one group"),
        ({"groups": ["g0"], "bandwidth": 0.0}, "bandwidth"),
        ({"groups": ["g0"], "alpha": 0.0}, "alpha"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            CMixup(**arguments)
    with pytest.raises(InvalidArgument, match=r"be among \['g0'\]"):
        CMixup(groups=["other"])(batch(Y))
    with pytest.raises(InvalidArgument, match="numeric targets"):
        CMixup(groups=["g0"])(batch(Y)._replace(targets={"g0": torch.zeros(7, 2).long()}))


def test_description_names_the_strength():
    words = CMixup(bandwidth=0.5, groups=["g0"]).describe()
    assert words == "mixup of rows with near targets, bandwidth 0.5, shares from Beta(2, 2)"
    assert CMixup.mixes
