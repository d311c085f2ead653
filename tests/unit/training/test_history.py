"""The history as JSON, with the geometry of the task gradients inside."""

import json
from dataclasses import replace

import pytest

from polytask.diagnostics import TaskGeometry
from polytask.diagnostics.geometry import WINDOW
from polytask.training.history import ALL_PAIRS, EpochRecord, History


def geometry(tasks: int) -> TaskGeometry:
    return TaskGeometry(
        updates=7,
        present=[7] * tasks,
        norms=[None, *(0.5,) * (tasks - 1)],
        cosines=[[1.0 if i == j else -0.25 for j in range(tasks)] for i in range(tasks)],
        conflicts=[[0.0 if i == j else None for j in range(tasks)] for i in range(tasks)],
        shares=[1 / tasks] * tasks,
        flags={"not-converged": 2},
    )


def record(epoch: int, tasks: int, found: TaskGeometry | None) -> EpochRecord:
    ones: list[float | None] = [1.0] * tasks
    return EpochRecord(epoch, epoch * 7, ones, ones, ones, ones, 0.1, geometry=found)


def test_geometry_survives_json():
    history = History(["a", "b"], [record(1, 2, geometry(2)), record(2, 2, None)], best_epoch=1)
    again = History.from_json(json.loads(json.dumps(history.to_json(), allow_nan=False)))
    assert again == history
    assert isinstance(again.epochs[0].geometry, TaskGeometry)
    assert again.epochs[1].geometry is None


def test_a_history_from_before_geometry_is_read():
    document = History(["a"], [record(1, 1, None)]).to_json()
    del document["epochs"][0]["geometry"]
    assert History.from_json(document).epochs == [record(1, 1, None)]


@pytest.mark.parametrize("tasks", [ALL_PAIRS, ALL_PAIRS + 1])
def test_pairs_of_many_tasks_are_kept_up_to_the_best_epoch_and_up_to_now(tasks):
    history = History([f"t{i}" for i in range(tasks)])
    for epoch in range(1, 31):
        history.epochs.append(record(epoch, tasks, geometry(tasks)))
        history.best_epoch = min(epoch, 12)
        history.forget_pairs()
    kept = [r.epoch for r in history.epochs if r.geometry is not None and r.geometry.cosines]
    wanted = [*range(13 - WINDOW, 13), *range(31 - WINDOW, 31)]
    assert kept == (list(range(1, 31)) if tasks == ALL_PAIRS else wanted)
    # Everything else of the forgotten epochs is still there.
    whole = record(1, tasks, geometry(tasks))
    assert whole.geometry is not None
    bare = replace(whole, geometry=whole.geometry.without_pairs())
    assert history.epochs[0] == (whole if tasks == ALL_PAIRS else bare)
