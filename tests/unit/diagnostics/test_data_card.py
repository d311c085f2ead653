"""Duplicates across the split, drift of targets, and parameters per label."""

import numpy as np
import pytest
import torch

from polytask.diagnostics.data_card import describe_data, row_hashes, target_drift
from polytask.tasks import Binary, Multiclass, Multilabel, Regression


def test_rows_on_both_sides_are_found_exactly(make_table, encode):
    train, fresh = make_table(300, 0), make_table(100, 1)
    inputs = {key: value.clone() for key, value in fresh.batch.inputs.items()}
    for key, value in inputs.items():
        value[:7] = train.batch.inputs[key][10:17]
    inputs["numeric"][7] = train.batch.inputs["numeric"][20]
    inputs["categories"][7] = (train.batch.inputs["categories"][20] + 1) % 5  # one column differs
    values = {name: value.copy() for name, value in fresh.values.items()}
    for name, value in values.items():
        value[:3] = train.values[name][10:13]
    valid = encode(train.tasks, values, inputs)
    card = describe_data({"train": train.batch, "valid": valid}, train.groups, parameters=600)
    assert card.rows == {"train": 300, "valid": 100}
    assert card.duplicates == {"valid": 7}
    assert card.same_labels == {"valid": 3}
    for index, task in enumerate(card.tasks):
        assert task.name == train.tasks[index].name
        assert task.ratio == 600 / task.labels["train"]


def test_hashes_see_every_entry_and_its_place():
    rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    swapped = rows[:, [1, 0, 2, 3, 4, 5]]
    nudged = rows.clone()
    nudged[:, 3] = torch.nextafter(nudged[:, 3], torch.tensor(9.0))
    hashes = row_hashes([rows])
    assert len(set(hashes.tolist())) == 200
    assert not (hashes == row_hashes([swapped])).any()
    assert not (hashes == row_hashes([nudged])).any()
    assert (hashes == row_hashes([rows.clone()])).all()


def test_a_hash_without_places_would_be_noticed():
    """The mutant: one key for all columns cannot tell swapped columns apart."""
    rows = torch.tensor([[1.0, 2.0]])
    same = row_hashes([rows[:, :1]]) + row_hashes([rows[:, 1:]])
    swapped = row_hashes([rows[:, 1:]]) + row_hashes([rows[:, :1]])
    assert (same == swapped).all()
    assert not (row_hashes([rows]) == row_hashes([rows[:, [1, 0]]])).any()


def test_drift_of_numbers_is_the_standardised_mean_difference():
    rng = np.random.default_rng(0)
    task = Regression("y").fit(np.arange(10.0))
    seen, unseen = torch.tensor(rng.normal(0, 2, 4000)), torch.tensor(rng.normal(1, 2, 4000))
    drift, flagged = target_drift(task, seen, unseen)
    assert drift == pytest.approx(0.5, abs=0.05)
    assert flagged
    assert target_drift(task, unseen, seen)[0] == pytest.approx(-drift)


def test_small_sets_need_a_larger_drift():
    task = Regression("y").fit(np.arange(10.0))
    seen = torch.arange(8.0)
    drift, flagged = target_drift(task, seen, seen + 1)
    assert drift > 0.25
    assert not flagged


def test_drift_of_classes_is_the_total_variation():
    task = Multiclass("y").fit(np.array(list("abc")))
    seen = torch.tensor([0] * 50 + [1] * 30 + [2] * 20).repeat(20)
    unseen = torch.tensor([0] * 30 + [1] * 30 + [2] * 40).repeat(20)
    drift, flagged = target_drift(task, seen, unseen)
    assert drift == pytest.approx(0.2)
    assert flagged


def test_equal_shares_are_flagged_rarely():
    rng = np.random.default_rng(0)
    binary = Binary("y").fit(np.array([0, 1]))
    number = Regression("y").fit(np.arange(10.0))
    flags = 0
    for _ in range(300):
        a, b = rng.integers(0, 2, 60), rng.integers(0, 2, 40)
        flags += target_drift(binary, torch.tensor(a).float(), torch.tensor(b).float())[1]
        x, y = rng.normal(size=60), rng.normal(size=40)
        flags += target_drift(number, torch.tensor(x), torch.tensor(y))[1]
    assert flags / 600 < 0.02


def test_labels_of_a_group_are_compared_one_by_one():
    task = Multilabel("y", columns=("a", "b")).fit(np.array([[0, 0], [1, 1]]))
    seen = torch.tensor([[0.0, 1.0], [1.0, -1.0]]).repeat(200, 1)
    unseen = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(200, 1)
    drift, flagged = target_drift(task, seen, unseen)
    assert drift == pytest.approx(0.5)
    assert flagged
