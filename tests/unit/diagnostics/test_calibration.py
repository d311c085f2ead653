"""Reliability, calibration error, its interval, and what chance alone shows."""

import numpy as np
import pytest
import torch

from polytask.diagnostics import Outputs, calibrate
from polytask.diagnostics.calibration import PER_BIN, equal_mass, forecast
from polytask.tasks import Binary, Multiclass, Multilabel, Regression, group_tasks


def outputs_of(task, logits, target, weights=None):
    (group,) = group_tasks([task])
    rows = len(logits)
    return Outputs(
        (group,),
        {group.name: torch.as_tensor(logits).float().view(rows, 1, -1)},
        {group.name: torch.as_tensor(target).unsqueeze(1)},
        {group.name: torch.ones(rows, 1, dtype=torch.bool)},
        None if weights is None else torch.as_tensor(weights).float(),
    )


BINARY = Binary("y").fit(np.array([0, 1]))


def coins(rows, seed, sharpen=1.0):
    """Events with known probabilities; the logits are the true ones times `sharpen`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, rows)
    events = (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return outputs_of(BINARY, sharpen * logits, events)


def test_error_by_hand():
    """Two values: 0.25 that comes true half of the time, 0.75 always."""
    logit = np.log(3.0)
    logits = np.array([-logit] * 40 + [logit] * 40)
    events = np.array([0, 1] * 20 + [1] * 40, dtype=np.float32)
    (found,) = calibrate(outputs_of(BINARY, logits, events))
    assert [bin_.frequency for bin_ in found.bins] == [0.5, 1.0]
    assert [bin_.share for bin_ in found.bins] == [0.5, 0.5]
    assert found.ece == pytest.approx(0.25)
    assert found.low <= found.ece <= found.high


def test_true_probabilities_are_not_above_chance_and_sharpened_ones_are():
    (true,) = calibrate(coins(3000, 0))
    (sharp,) = calibrate(coins(3000, 0, sharpen=3.0))
    assert true.ece < 2 * true.by_chance
    assert sharp.ece > 4 * sharp.by_chance
    assert sharp.low > sharp.by_chance


def test_by_chance_is_the_mean_error_of_true_probabilities():
    found = [calibrate(coins(400, seed))[0] for seed in range(60)]
    errors = np.array([one.ece for one in found])
    chance = np.mean([one.by_chance for one in found])
    assert errors.mean() == pytest.approx(chance, abs=3 * errors.std() / 60**0.5)


def test_the_interval_takes_the_bias_off_again():
    """It holds the true error (large here) about as often as it says; plain percentiles do not."""
    big = calibrate(coins(200_000, 99, sharpen=2.0))[0]
    hits = plain = 0
    for seed in range(150):
        (found,) = calibrate(coins(600, seed, sharpen=2.0), seed=seed)
        hits += found.low <= big.ece <= found.high
        # The mutant: quantiles of the resampled errors themselves, which lie too high.
        low, high = 2 * found.ece - found.high, 2 * found.ece - found.low
        plain += low <= big.ece <= high
    assert hits / 150 > 0.8
    assert hits > plain


def test_temperature_that_undoes_the_sharpening_helps():
    (found,) = calibrate(coins(3000, 0), temperatures={"y": 3.0})
    assert found.temperature == 3.0
    assert found.ece == pytest.approx(calibrate(coins(3000, 0, sharpen=3.0))[0].ece, abs=1e-6)
    assert found.ece_after == pytest.approx(calibrate(coins(3000, 0))[0].ece, abs=1e-6)
    assert found.ece_after < found.ece / 3
    assert found.bins_after


def test_of_several_classes_the_most_probable_one_counts():
    task = Multiclass("y").fit(np.array(list("abc")))
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 2.0]]).repeat(20, 1)
    found = forecast(outputs_of(task, logits, torch.tensor([0, 1]).repeat(20)), 0)
    best = torch.softmax(logits.double(), -1).max(-1).values
    assert found.chances == pytest.approx(best.numpy())
    assert found.hits.tolist() == [1.0, 0.0] * 20


def test_gaps_of_labels_and_rows_without_weight_are_left_out():
    task = Multilabel("y", columns=("a", "b")).fit(np.array([[0, 0], [1, 1]]))
    target = torch.tensor([[1.0, -1.0], [0.0, 1.0], [1.0, 0.0]])
    logits = torch.tensor([[1.0, 9.0], [2.0, 3.0], [9.0, 9.0]])
    found = forecast(outputs_of(task, logits, target, [1, 2, 0]), 0)
    assert found.chances == pytest.approx(torch.sigmoid(torch.tensor([1.0, 2.0, 3.0])).numpy())
    assert found.hits.tolist() == [1, 0, 1]
    assert found.weights.tolist() == [1, 2, 2]


def test_weights_count_as_repeated_rows():
    rng = np.random.default_rng(0)
    logits, events = rng.normal(size=60), (rng.random(60) < 0.5).astype(np.float32)
    weights = np.repeat([1, 3], 30)
    (weighted,) = calibrate(outputs_of(BINARY, logits, events, weights))
    bins = equal_mass(1 / (1 + np.exp(-np.float32(logits).astype(float))), 60 // PER_BIN)
    chances = 1 / (1 + np.exp(-np.float32(logits).astype(float)))
    excess = [abs((weights * (events - chances))[bins == b].sum()) for b in range(bins.max() + 1)]
    assert weighted.ece == pytest.approx(sum(excess) / weights.sum())


def test_bins_hold_equal_mass_and_never_part_equal_values():
    values = np.random.default_rng(0).random(1500)
    assert set(np.bincount(equal_mass(values, 15)).tolist()) == {100}
    ties = np.repeat([0.1, 0.2, 0.3], [700, 5, 300])
    bins = equal_mass(ties, 15)
    assert len({(value, b) for value, b in zip(ties, bins, strict=True)}) == 3
    assert set(bins.tolist()) == set(range(bins.max() + 1))


def test_numbers_have_no_calibration_and_order_of_rows_does_not_matter():
    task = Regression("y").fit(np.arange(5.0))
    assert calibrate(outputs_of(task, np.zeros(5), np.zeros(5, dtype=np.float32))) == ()
    one = coins(300, 0)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    other = outputs_of(BINARY, one.outputs["y"][order], one.targets["y"][order, 0])
    assert calibrate(other)[0].ece == pytest.approx(calibrate(one)[0].ece)
