"""What holds for every kind of target."""

import json
import pickle

import numpy as np
import pytest
import torch

from polytask.errors import DataError, InvalidArgument
from polytask.tasks import SPECS, group_tasks, task_from_json, task_to_json

KINDS = list(SPECS)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_finite_gaps(columns, kind):
    spec, cells = columns[kind]
    task = spec.fit(cells)
    target, mask = task.encode(cells)
    assert mask.tolist() == [True, True, False, True, True]
    assert len(target) == 5
    output = torch.randn(5, task.outputs, generator=torch.Generator().manual_seed(0))
    loss = task.loss(output, target)
    assert loss.shape == (5,)
    assert torch.isfinite(loss).all()


@pytest.mark.parametrize("kind", KINDS)
def test_leading_axes_are_one_call(columns, kind):
    """K equal tasks as [rows, tasks, outputs] give the numbers of K single calls."""
    spec, cells = columns[kind]
    task = spec.fit(cells)
    target, _ = task.encode(cells)
    outputs = torch.randn(5, 3, task.outputs, generator=torch.Generator().manual_seed(1))
    together = task.loss(outputs, torch.stack([target] * 3, 1))
    single = torch.stack([task.loss(outputs[:, k], target) for k in range(3)], 1)
    assert together.shape == (5, 3)
    assert torch.equal(together, single)


@pytest.mark.parametrize("kind", KINDS)
def test_json_round_trip(columns, kind):
    spec, cells = columns[kind]
    task = spec.fit(cells)
    document = json.loads(json.dumps(task_to_json(task), allow_nan=False))
    again = task_from_json(document)
    assert again == task
    assert pickle.loads(pickle.dumps(task)) == task
    output = torch.randn(4, task.outputs)
    for suffix, values in task.predict(output).items():
        assert np.array_equal(values, again.predict(output)[suffix])


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_outputs_are_judged_in_single(columns, kind):
    spec, cells = columns[kind]
    task = spec.fit(cells)
    target, _ = task.encode(cells)
    output = torch.randn(5, task.outputs).bfloat16()
    assert torch.equal(task.loss(output, target), task.loss(output.float(), target))
    assert task.loss(output.double(), target).dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
def test_all_missing_is_one_sentence(columns, kind):
    spec, cells = columns[kind]
    empty = np.full(cells.shape, None, dtype=object)
    with pytest.raises(DataError, match=r"Target '.*t' has no label in the training rows"):
        spec.fit(empty)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_without_weight_are_no_labels(columns, kind):
    spec, cells = columns[kind]
    with pytest.raises(DataError, match="'t' has no label with a positive row weight"):
        spec.fit(cells, np.array([0.0, 0.0, 1.0, 0.0, 0.0]))


@pytest.mark.parametrize("kind", KINDS)
def test_encode_is_blind_to_the_storage(columns, kind):
    """None, NaN and pandas.NA are the same gap; a list of objects the same numbers."""
    import pandas

    spec, cells = columns[kind]
    task = spec.fit(cells)
    stored = cells.astype(object)
    stored[pandas.isna(cells)] = pandas.NA
    for mine, plain in zip(task.encode(stored), task.encode(cells), strict=True):
        assert torch.equal(mine, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_baseline_is_one_raw_output(columns, kind):
    spec, cells = columns[kind]
    baseline = spec.fit(cells).baseline()
    assert baseline.shape == (spec.fit(cells).outputs,)
    assert baseline.dtype == torch.float32
    assert torch.isfinite(baseline).all()


@pytest.mark.parametrize("kind", KINDS)
def test_description_and_metrics_have_names(columns, kind):
    spec, cells = columns[kind]
    task = spec.fit(cells)
    assert task.describe().startswith(kind)
    assert all(name == metric.name for name, metric in task.metrics().items())


@pytest.mark.parametrize("kind", KINDS)
def test_equal_tasks_fuse_whatever_they_are_called(columns, kind):
    from dataclasses import replace

    spec, cells = columns[kind]
    other = replace(spec, name="u", weight=2.0)
    groups = group_tasks([spec.fit(cells), other.fit(cells)])
    assert [group.indices for group in groups] == [(0, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_specs_refuse_a_negative_weight_and_an_empty_name(kind):
    columns = ("a", "b") if kind == "multilabel" else ()
    with pytest.raises(InvalidArgument, match="weight of target 't'"):
        SPECS[kind]("t", columns, weight=-1.0)
    with pytest.raises(InvalidArgument, match="`name` must be a non-empty text"):
        SPECS[kind]("", columns)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "multilabel"])
def test_one_column_kinds_refuse_two(kind):
    with pytest.raises(InvalidArgument, match=f"one column for {kind}"):
        SPECS[kind]("t", ("a", "b"))
