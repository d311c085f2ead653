"""The section about the gradients of the tasks."""

import re
from dataclasses import replace

import pytest

from polytask.diagnostics import describe_interplay
from polytask.diagnostics.interplay import MAX_CURVES, MAX_PAIRS
from polytask.reports import interplay, render_html
from polytask.reports.interplay import MAX_CELLS, SMALL


def section(report):
    text = render_html(report)
    return re.sub(r"\s+", " ", text.split('<section id="interplay">')[1].split("</section>")[0])


@pytest.fixture(scope="module")
def torn(make_report, measured):
    return measured(make_report())


@pytest.fixture(scope="module")
def thirty(make_report, measured):
    return measured(make_report([f"t{i}" for i in range(30)], epochs=16))


def test_findings_come_first_with_what_to_type(torn):
    text = section(torn)
    dominated, heat = text.index("dominates the update"), text.index("cosine-heat")
    assert dominated < heat
    assert "<code>--balance nash-mtl</code>" in text
    assert "<code>--balance upgrad</code>" in text


def test_heat_map_has_every_pair_with_its_conflicts(torn, values):
    (figure,) = interplay.cosine_figures(torn)
    points = values(figure["spec"], 0)
    names = torn.history["tasks"]
    geometry = torn.interplay.geometry
    assert [(p["task"], p["with"]) for p in points] == [(a, b) for a in names for b in names]
    for position, point in enumerate(points):
        i, j = divmod(position, len(names))
        if i == j:
            assert point["sign"] == "not measured"
            continue
        cosine = geometry.cosines[i][j]
        assert point["cosine"] == cosine
        assert point["size"] == pytest.approx(abs(cosine), rel=1e-4)
        assert point["sign"] == ("against each other" if cosine < 0 else "same direction")
        assert point["conflicts"] == geometry.conflicts[i][j]
    assert f"epoch {torn.interplay.epoch}" in figure["words"]
    assert torn.interplay.epoch == torn.history["best_epoch"]


def test_curves_are_normalised_weights_and_norms_on_a_logarithmic_axis(torn, values):
    weights, norms = interplay.curve_figures(torn)
    points = values(weights["spec"], -1)
    for epoch in {p["epoch"] for p in points}:
        assert sum(p["value"] for p in points if p["epoch"] == epoch) == pytest.approx(1, abs=1e-3)
    assert norms["spec"]["layer"][1]["encoding"]["y"]["scale"]["type"] == "log"
    first = torn.history["epochs"][0]["geometry"]["norms"]
    found = {p["task"]: p["value"] for p in values(norms["spec"], -1) if p["epoch"] == 1}
    assert found == pytest.approx(dict(zip(torn.history["tasks"], first, strict=True)), rel=1e-4)


def test_a_norm_of_zero_has_no_place_on_a_logarithmic_axis(torn, values):
    curves = tuple(replace(curve, norms=(0.0, *curve.norms[1:])) for curve in torn.interplay.curves)
    report = replace(torn, interplay=replace(torn.interplay, curves=curves))
    points = values(interplay.curve_figures(report)[1]["spec"], -1)
    assert min(p["epoch"] for p in points) == 2


def test_of_many_tasks_the_extremes_and_those_of_the_findings_are_followed(thirty):
    found = thirty.interplay
    assert len(found.curves) == MAX_CURVES
    followed = {curve.task for curve in found.curves}
    assert {"t0", "t1"} <= followed
    shares = dict(zip(thirty.history["tasks"], found.geometry.shares, strict=True))
    assert min(shares, key=shares.__getitem__) in followed
    assert max(shares, key=shares.__getitem__) in followed
    assert "Drawn: 10 of 30 tasks" in section(thirty)


def test_pairs_are_a_table_where_the_matrix_has_no_numbers(torn, thirty):
    assert interplay.pair_rows(torn) == []
    rows = interplay.pair_rows(thirty)
    assert len(rows) == MAX_PAIRS
    assert [cell.text for cell in rows[0][:2]] == ["t0", "t1"]
    cosines = [float(row[2].value) for row in rows]
    assert cosines == sorted(cosines)
    assert len(interplay.cosine_figures(thirty)) == 1


def test_more_tasks_than_a_picture_can_hold(make_report, measured):
    names = [f"t{i}" for i in range(MAX_CELLS + 1)]
    report = measured(make_report(names, epochs=8))
    assert interplay.cosine_figures(report) == []
    text = section(report)
    assert "<details open>" in text
    assert "of 820 pairs have a negative mean cosine" in text


def test_few_tasks_have_numbers_with_the_conflicts_below(torn):
    rows = interplay.geometry_rows(torn.history["tasks"], torn.interplay.geometry)
    assert len(rows[0]) == 3 + 4 <= 3 + SMALL
    assert rows[0][4].style == "number worse"
    assert rows[0][4].detail == "100\N{NO-BREAK SPACE}%"
    assert rows[0][3].text == ""


def test_norms_alone_promise_nothing_about_conflicts(make_report, measured):
    report = measured(make_report(), balance="gradnorm", calm=True, norms_only=True)
    text = section(report)
    assert "nothing is known of conflicts" in text
    assert "cosine-heat" not in text
    assert "share-norms" in text


def test_losses_alone_show_the_kept_weights(make_report):
    text = section(make_report())
    assert "looks at no gradients" in text
    assert "gradients-table" in text
    assert "share-weights" not in text
    assert "No task dominates" not in text


def test_weights_that_move_are_drawn_without_gradients(make_report):
    report = make_report()
    records = [
        {**record, "weights": [0.25 + 0.001 * record["epoch"], 0.25, 0.25, 0.25]}
        for record in report.history["epochs"]
    ]
    history = {**report.history, "epochs": records}
    moved = replace(report, history=history, interplay=describe_interplay(history, balance="dwa"))
    assert [f["id"] for f in interplay.curve_figures(moved)] == ["share-weights"]


def test_the_kept_weights_have_the_parts_of_the_kept_epoch(make_report):
    report = make_report()
    once = report.trunk_gradients
    assert report.interplay.kept == once.geometry([0.25] * 4)
    assert once.geometry().shares == [None] * 4
    assert sum(report.interplay.kept.shares) == pytest.approx(1.0, abs=1e-5)


def test_a_single_task_shares_with_nobody(make_report):
    report = replace(make_report(["y"]), trunk_gradients=None)
    assert report.interplay is None
    text = render_html(report)
    assert 'id="interplay"' not in text
    assert "#interplay" not in text
