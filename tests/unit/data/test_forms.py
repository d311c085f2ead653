"""Wide and long tables: labels in, predictions out."""

import json

import numpy as np
import pandas
import pytest
import torch

from polytask.data import LongForm, WideForm, encode_targets, fit_tasks, form_from_json
from polytask.data import read_weights as weights_of
from polytask.errors import DataError, PolytaskError
from polytask.tasks import Binary, Count, Multiclass, Multilabel, Regression, group_tasks

WIDE = pandas.DataFrame(
    {
        "key": ["k1", "k2", "k3", "k4"],
        "y": ["1.5", "NA", "2.5", "3.5"],
        "z": ["no", "yes", None, "no"],
        "c": ["a", "b", "c", "a"],
        "red": [1, 0, 1, 0],
        "round": ["0", "1", "", "1"],
    },
    index=[10, 11, 12, 13],
)
SPECS = (Regression("y"), Binary("z"), Multiclass("c"), Multilabel("tags", ("red", "round")))

LONG = pandas.DataFrame(
    {
        "school": [10.0, 9.0, 10.0, 9.0, np.nan, 10.0],
        "score": [1.0, 10.0, 3.0, 20.0, 1000.0, np.nan],
        "key": list("abcdef"),
    }
)


def test_wide_targets_and_masks_by_group():
    form, tasks = fit_tasks(WideForm(SPECS), WIDE)
    groups = group_tasks(tasks)
    targets, masks = encode_targets(WIDE, form, groups)
    assert {name: tuple(t.shape) for name, t in targets.items()} == {
        "y": (4, 1), "z": (4, 1), "c": (4, 1), "tags": (4, 1, 2),
    }  # fmt: skip
    assert masks["y"][:, 0].tolist() == [True, False, True, True]
    assert masks["z"][:, 0].tolist() == [True, True, False, True]
    assert targets["c"][:, 0].tolist() == [0, 1, 2, 0]
    assert all(target.isfinite().all() for target in targets.values())


def test_equal_tasks_are_stacked_in_the_users_order():
    specs = (Regression("a"), Binary("z", columns=("z",)), Regression("b"))
    frame = pandas.DataFrame({"a": [1.0, 3.0], "b": [np.nan, 7.0], "z": [0, 1]})
    form, tasks = fit_tasks(WideForm(specs), frame)
    targets, masks = encode_targets(frame, form, group_tasks(tasks))
    assert targets["a"].tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert masks["a"].tolist() == [[True, False], [True, True]]


def test_wide_assembles_ids_and_suffixes():
    form = WideForm(SPECS, ids=("key",))
    out = form.assemble(
        WIDE,
        {
            "y": {"": np.arange(4.0)},
            "z": {"": np.array(list("nynn")), "probability_yes": np.ones(4)},
        },
    )
    assert list(out.columns) == ["key", "y", "z", "z_probability_yes"]
    assert out.index.tolist() == [10, 11, 12, 13]
    with pytest.raises(DataError, match="'key'"):
        form.assemble(WIDE.drop(columns="key"), {"y": {"": np.arange(4.0)}})


def test_a_lacking_target_column_is_named():
    with pytest.raises(PolytaskError, match="'y' does not exist"):
        WideForm(SPECS).values(WIDE.drop(columns="y"), SPECS[0])


def test_long_tasks_share_centre_and_scale():
    form = LongForm.create(LONG, "school", Regression("score"))
    assert [spec.name for spec in form.specs] == ["school=9", "school=10"]  # as numbers
    assert form.target_columns == ("score",)
    form, tasks = fit_tasks(form, LONG)
    pooled = np.array([1.0, 10.0, 3.0, 20.0])  # a row without a task has no label
    assert [task.center for task in tasks] == [pooled.mean()] * 2
    assert [task.scale for task in tasks] == [pytest.approx(pooled.std())] * 2
    assert tasks[0].center != np.mean([10.0, 20.0])  # a centre of its own would be another
    targets, masks = encode_targets(LONG, form, group_tasks(tasks))
    assert masks["school=9"].tolist() == [
        [False, True], [True, False], [False, True], [True, False], [False, False], [False, False],
    ]  # fmt: skip
    restored = targets["school=9"] * tasks[0].scale + tasks[0].center
    torch.testing.assert_close(restored[1, 0], torch.tensor(10.0))


def test_all_values_equal_values_one_by_one():
    for form, frame in (
        (WideForm(SPECS), WIDE),
        (LongForm.create(LONG, "school", Count("score")), LONG),
    ):
        for spec, values in form.all_values(frame):
            np.testing.assert_array_equal(values, form.values(frame, spec))


def test_long_classification_shares_the_class_list():
    frame = pandas.DataFrame({"t": ["u", "u", "v", "v"], "y": ["a", "b", "c", "c"]})
    _, tasks = fit_tasks(LongForm.create(frame, "t", Multiclass("y")), frame)
    assert [task.classes for task in tasks] == [("a", "b", "c")] * 2
    assert len(group_tasks(tasks)) == 1


def test_long_predictions_have_one_column_per_suffix():
    form = LongForm.create(LONG, "school", Regression("score"), ids=("key",))
    block = {"school=9": {"": np.arange(6.0)}, "school=10": {"": np.arange(6.0) + 100}}
    out = form.assemble(LONG, block)
    assert list(out.columns) == ["key", "school", "score"]
    np.testing.assert_array_equal(out["score"], [100, 1, 102, 3, np.nan, 105])
    only = form.assemble(LONG, {"school=9": block["school=9"]})
    assert only["score"].notna().tolist() == [False, True, False, True, False, False]


def test_long_predictions_keep_classes():
    frame = pandas.DataFrame({"t": ["u", "v", "u"], "y": [0, 1, 1]})
    form = LongForm.create(frame, "t", Binary("y"))
    ones, zeros = np.ones(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    out = form.assemble(frame, {"t=u": {"": ones}, "t=v": {"": zeros}})
    assert out["y"].tolist() == [1, 0, 1]
    assert out["y"].dtype == np.int64


def test_a_task_that_training_did_not_have():
    form = LongForm.create(LONG, "school", Regression("score"))
    strangers = pandas.DataFrame({"school": ["9", "11", "12"]})
    with pytest.raises(DataError, match="training did not have: '11', '12'"):
        form.check(strangers)
    form.check(pandas.DataFrame({"school": ["9", "10.0", 9, None]}, dtype=object))
    with pytest.raises(DataError, match="'school' does not exist"):
        form.check(pandas.DataFrame({"x": [1]}))
    with pytest.raises(DataError, match="is empty"):
        LongForm.create(pandas.DataFrame({"school": [None], "score": [1]}), "school", SPECS[0])


def test_json_round_trip():
    wide = WideForm(SPECS, ids=("key",))
    assert form_from_json(json.loads(json.dumps(wide.to_json())), SPECS) == wide
    long, tasks = fit_tasks(LongForm.create(LONG, "school", Regression("score")), LONG)
    again = form_from_json(json.loads(json.dumps(long.to_json())), [t.spec for t in tasks])
    assert again.specs == long.specs
    np.testing.assert_array_equal(again.positions(LONG), long.positions(LONG))
    block = {spec.name: {"": np.arange(6.0)} for spec in long.specs}
    assert again.assemble(LONG, block).equals(long.assemble(LONG, block))


def test_weights():
    assert weights_of(pandas.Series(["1", "0.5"], name="w")).tolist() == [1.0, 0.5]
    for cells in (["1", None], ["1", "x"], ["1", "-1"], ["1", "inf"]):
        with pytest.raises(DataError, match=r"'w'.*row 2"):
            weights_of(pandas.Series(cells, name="w"))
    with pytest.raises(DataError, match="'w' is 0 in every row"):
        weights_of(pandas.Series([0, 0], name="w"))
