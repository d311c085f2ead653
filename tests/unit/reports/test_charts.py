from dataclasses import replace

import pytest

from polytask.diagnostics import Comparison
from polytask.reports.charts import FURTHEST, comparison, curve, gap


def test_curve_shows_the_kept_and_the_own_best_epoch(make_report, values):
    report = make_report(epochs=1000)
    spec = curve(report, 1)
    history = report.history
    rules = [
        values(spec, position)
        for position, layer in enumerate(spec["layer"])
        if layer["mark"]["type"] == "rule"
    ]
    assert [{"loss": 1.0}] in rules
    assert [{"epoch": history["best_epochs"][1]}] in rules
    assert [{"epoch": history["best_epoch"]}] in rules
    points = values(spec, -1)
    drawn = {point["epoch"] for point in points}
    assert {1, 1000, history["best_epoch"], history["best_epochs"][1]} <= drawn
    best = history["best_epochs"][1]
    found = {point["rows"]: point["loss"] for point in points if point["epoch"] == best}
    assert found == {
        "training": pytest.approx(history["epochs"][best - 1]["train"][1], rel=1e-4),
        "validation": pytest.approx(history["epochs"][best - 1]["valid"][1], rel=1e-4),
    }


def test_epochs_without_validation_are_left_out(make_report, values):
    report = make_report()
    epochs = [{**record, "valid": [None] * 4} for record in report.history["epochs"]]
    spec = curve(replace(report, history={**report.history, "epochs": epochs}), 0)
    assert {point["rows"] for point in values(spec, -1)} == {"training"}


def test_comparison_has_one_line_per_task_and_one_for_all(make_report, values):
    report = make_report(loses=True)
    points = values(comparison(report, range(4), "linear"), 1)
    names = [task.name for task in report.tasks]
    assert [point["task"] for point in points] == [*names, "all tasks together"]
    for point, task in zip(points, report.tasks, strict=False):
        found = task.on("valid").comparison("linear")
        assert (point["difference"], point["low"], point["high"]) == (
            found.difference,
            found.low,
            found.high,
        )
        assert point["verdict"] == found.verdict


def test_too_few_labels_are_no_verdict_in_the_chart(make_report, values):
    report = make_report([f"t{i}" for i in range(8)])
    points = values(comparison(report, range(8), "linear"), 1)
    assert points[5]["verdict"] == "too few labels"


def test_one_task_needs_no_line_for_all(make_report, values):
    points = values(comparison(make_report(["y"]), [0], "linear"), 1)
    assert [point["task"] for point in points] == ["y"]


def test_a_disaster_does_not_squeeze_the_others(make_report):
    report = make_report()
    first = report.tasks[0]
    awful = replace(
        first,
        sets=tuple(
            replace(row, comparisons=(Comparison("linear", -40.0, -50.0, -30.0),))
            for row in first.sets
        ),
    )
    spec = comparison(replace(report, tasks=(awful, *report.tasks[1:])), range(4), "linear")
    domain = spec["layer"][2]["encoding"]["x"]["scale"]["domain"]
    assert domain[0] >= -1.2 * FURTHEST
    assert domain[1] > 0


def test_gap_is_drawn_in_units_of_the_mean_predictor(make_report, values):
    report = make_report()
    points = values(gap(report, range(4)), 1)
    for point, task in zip(points, report.tasks, strict=True):
        for name in ("train", "valid"):
            loss = task.on(name).metrics[-1]
            assert point[name] == loss.model / loss.mean


def test_nothing_to_draw_is_none(make_report):
    report = make_report()
    bare = replace(
        report,
        history={},
        together=(),
        tasks=tuple(replace(task, sets=()) for task in report.tasks),
    )
    assert curve(bare, 0) is None
    assert comparison(bare, range(4), "linear") is None
    assert gap(bare, range(4)) is None
