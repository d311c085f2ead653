"""What the later charts draw."""

from dataclasses import replace

import pytest

from polytask.reports import diagrams


def test_penalties_are_drawn_apart_and_only_where_recorded(make_report, values):
    history = make_report(epochs=400).history
    spec = diagrams.penalty(history, "group lasso")
    points = values(spec, -1)
    assert len(points) <= 130
    kept = history["best_epoch"]
    assert {"epoch": kept, "penalty": pytest.approx(1 / kept, rel=1e-4)} in points
    assert diagrams.penalty(history, "other") is None
    assert diagrams.penalty({}, "group lasso") is None


def test_gap_intervals_show_both_moments(make_report, values):
    report = make_report()
    spec = diagrams.gap_intervals(report.gaps, ["glucose", "sex"])
    points = values(spec, 1)
    assert [(p["task"], p["when"]) for p in points] == [
        ("glucose", "kept"),
        ("glucose", "end"),
        ("sex", "kept"),
        ("sex", "end"),
    ]
    assert (points[0]["low"], points[0]["high"]) == (0.1, 0.25)
    assert points[1]["low"] is None
    assert diagrams.gap_intervals((), ["sex"]) is None
    holes = tuple(replace(row, gap=None) for row in report.gaps)
    assert diagrams.gap_intervals(holes, ["sex"]) is None


def test_shuffled_losses_are_in_units_of_their_mean(make_report, values):
    report = make_report()
    (test,) = (t for t in report.permutation if t.task == "glucose")
    spec = diagrams.shuffles(report.permutation, ["glucose"])
    assert len(values(spec, 0)) <= 64
    (true,) = values(spec, 1)
    assert true["loss"] == pytest.approx(test.score / (sum(test.shuffled) / 100), rel=1e-4)
    assert diagrams.shuffles((), ["glucose"]) is None


def test_reliability_shows_before_and_after(make_report, values):
    (found,) = make_report().calibration
    points = values(diagrams.reliability(found), 1)
    assert [p["when"] for p in points] == ["as predicted"] * 6 + ["after temperature"]


def test_both_axes_of_residuals_are_alike(make_report):
    spec = diagrams.predicted_against_true(make_report().residuals[0])
    axes = spec["layer"][1]["encoding"]
    assert axes["x"]["scale"] == axes["y"]["scale"]
    assert axes["x"]["field"] == "predicted"
