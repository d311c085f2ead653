import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from polytask.data.finding import Finding
from polytask.diagnostics import (
    Comparison,
    Outputs,
    RunReport,
    SetRow,
    TaskRow,
    Together,
    build_report,
    judge,
    linear_baseline,
    too_few,
)
from polytask.diagnostics.headline import write_headline
from polytask.errors import CorruptFile, InvalidArgument
from polytask.tasks import Binary, Multiclass, Regression, group_tasks


def noisy(outputs, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return outputs.with_outputs(
        {
            name: value + noise * torch.randn(value.shape, generator=generator)
            for name, value in outputs.outputs.items()
        }
    )


@pytest.fixture(scope="module")
def pieces(make_table, encode):
    """A linear baseline, and its outputs on training and fresh rows."""
    train, fresh = make_table(seed=0), make_table(600, seed=1)
    valid = encode(train.tasks, fresh.values, fresh.batch.inputs)
    baseline = linear_baseline(train.batch, train.groups)
    sets = {}
    for name, batch in (("train", train.batch), ("valid", valid)):
        outputs = baseline.predict(batch)
        sets[name] = Outputs(train.groups, outputs, batch.targets, batch.masks, batch.row_weights)
    return train, baseline, sets


HISTORY = {
    "tasks": [],
    "epochs": [{}] * 9,
    "best_epoch": 4,
    "best_epochs": [1, 2, 3, 4, 5, 6],
    "stopped": "patience",
}


def report_of(sets, linear, baseline=None, **options):
    return build_report(
        title="t.csv",
        sets=sets,
        history=HISTORY,
        baselines={"linear": linear},
        linear=baseline,
        created="now",
        **options,
    )


def test_a_model_that_loses_to_a_linear_one_says_so_first(pieces):
    _, baseline, linear = pieces
    worse = {name: noisy(outputs, 1.0) for name, outputs in linear.items()}
    report = report_of(worse, linear, baseline)
    assert report.headline[0].startswith("A linear model is better than this model on 6 of 6 tasks")
    assert "level" in report.headline[0]
    for task in report.tasks:
        assert task.on("valid").verdict("linear") == "worse"


def test_a_model_that_beats_it_does_not(pieces):
    _, _, linear = pieces
    weak = {name: noisy(outputs, 1.0) for name, outputs in linear.items()}
    report = report_of(linear, weak)
    assert not any("is better than this model" in sentence for sentence in report.headline)
    assert report.headline[0] == "Against a linear model: better on all 6 tasks."


def test_a_model_that_learnt_nothing_loses_to_the_average(pieces):
    _, _, linear = pieces
    worse = {name: noisy(outputs, 3.0) for name, outputs in linear.items()}
    report = build_report(title="t", sets=worse, history={}, created="now")
    assert report.headline[0].startswith("Predicting the training average is better")
    assert "No linear model was fitted" in " ".join(report.headline)


def test_equal_models_are_no_clear_difference(pieces):
    _, _, linear = pieces
    report = report_of(linear, linear)
    for task in report.tasks:
        assert task.on("valid").verdict("linear") == "no clear difference"
        assert task.on("valid").comparison("linear").difference == 0


def test_the_difference_is_in_units_of_the_mean_predictors_loss(pieces):
    _, _, linear = pieces
    worse = {name: noisy(outputs, 0.5) for name, outputs in linear.items()}
    for task in report_of(worse, linear).tasks:
        row = task.on("valid")
        loss = row.metrics[-1]
        assert loss.name == "loss"
        expected = (loss.linear - loss.model) / loss.mean
        assert row.comparison("linear").difference == pytest.approx(expected, rel=1e-5)
        assert row.comparison("linear").difference != pytest.approx(-expected)


def test_training_rows_are_never_compared_and_the_gap_gives_no_verdict(pieces):
    """A huge gap and an equal loss on new rows: no sentence may hold the gap against the model."""
    _, _, linear = pieces
    perfect = linear["train"]
    truth = {
        name: torch.where(perfect.targets[name] > 0, 30.0, -30.0).view_as(value)
        if value.numel() == perfect.targets[name].numel()
        else value
        for name, value in perfect.outputs.items()
    }
    overfit = {"train": perfect.with_outputs(truth), "valid": linear["valid"]}
    report = report_of(overfit, linear)
    churn = report.tasks[1]
    assert churn.gap > 0.9
    assert all(not task.on("train").comparisons for task in report.tasks)
    assert report.headline == report_of(linear, linear).headline


def test_test_rows_judge_where_there_are_any(pieces):
    _, _, linear = pieces
    three = {**linear, "test": linear["valid"]}
    report = report_of(three, three)
    assert report.judged_on == "test"
    assert any("test rows, which decided nothing" in sentence for sentence in report.headline)
    assert {row.rows for row in report.together} == {"valid", "test"}
    assert [task.labels_test for task in report.tasks] == [
        task.labels_valid for task in report.tasks
    ]


def test_labels_epochs_and_words_arrive(pieces):
    table, baseline, linear = pieces
    report = report_of(
        linear, linear, baseline, labels={"train": [1, 2, 3, 4, 5, 6]}, notes={"level": "noisy"}
    )
    assert [task.labels_train for task in report.tasks] == [1, 2, 3, 4, 5, 6]
    assert [task.best_epoch for task in report.tasks] == [1, 2, 3, 4, 5, 6]
    assert report.tasks[0].note == "noisy"
    assert report.tasks[0].linear.startswith("ridge regression")
    assert report.tasks[1].description == table.tasks[1].describe()


def test_a_task_without_linear_model_is_said(pieces):
    table, baseline, linear = pieces
    group = next(g for g in table.groups if 4 in g.indices)
    holes = {
        name: outputs.with_outputs(
            {**outputs.outputs, group.name: torch.full_like(outputs.outputs[group.name], torch.nan)}
        )
        for name, outputs in linear.items()
    }
    report = report_of(linear, holes, replace(baseline, words={}, missing={"visits": "odd kind"}))
    assert report.tasks[4].linear == "none: odd kind"
    assert report.tasks[4].on("valid").comparison("linear") is None
    assert report.tasks[4].on("valid").metrics[0].linear is None
    assert "No linear model was fitted for visits." in report.headline


@pytest.mark.parametrize(
    ("spec", "values", "expected"),
    [
        (Regression("y"), np.arange(29.0), "29 labels, 30 needed"),
        (Regression("y"), np.arange(30.0), ""),
        (Binary("y"), np.arange(200) < 9, "9 labels of the rarer class, 10 needed"),
        (Binary("y"), np.arange(200) < 10, ""),
        (Multiclass("y"), np.arange(200) % 3, ""),
        (Multiclass("y"), np.arange(29) % 3, "29 labels for 3 classes, 30 needed"),
        (
            Multiclass("y"),
            np.where(np.arange(200) < 192, 0, 1 + np.arange(200) % 2),
            "8 labels outside the most frequent class, 10 needed",
        ),
    ],
)
def test_when_labels_are_too_few(spec, values, expected):
    values = values.astype(object) if values.dtype == bool else values
    task = spec.fit(values)
    target, mask = task.encode(values)
    outputs = Outputs(
        group_tasks([task]),
        {"y": torch.zeros(len(target), 1, task.outputs)},
        {"y": target[:, None]},
        {"y": mask[:, None]},
        None,
    )
    assert too_few(task, outputs, 0) == expected
    assert too_few(task, replace(outputs, row_weights=torch.zeros(len(target))), 0)


def test_too_few_labels_mean_no_verdict(pieces):
    _, _, linear = pieces
    worse = {name: noisy(outputs, 2.0) for name, outputs in linear.items()}
    few = {k: v & (torch.arange(600)[:, None] < 12) for k, v in worse["valid"].masks.items()}
    small = {"valid": replace(worse["valid"], masks=few)}
    report = report_of(small, {"valid": replace(linear["valid"], masks=few)})
    for task in report.tasks:
        row = task.on("valid")
        assert row.too_few
        assert row.comparison("linear") is not None
        assert row.verdict("linear") == ""
    assert any("Too few validation labels to judge all tasks" in s for s in report.headline)
    assert not any("of 6 tasks (" in sentence for sentence in report.headline)


def make_rows(verdicts, together=0.0):
    bounds = {"worse": (-0.2, -0.3, -0.1), "better": (0.2, 0.1, 0.3), "none": (0.0, -0.1, 0.1)}
    tasks = [
        TaskRow(
            f"t{i}", "regression", "", 9, 9, 0, 1, None,
            (SetRow("valid", 99, 1.0, (), (Comparison("linear", *bounds[verdict]),)),),
        )
        for i, verdict in enumerate(verdicts)
    ]  # fmt: skip
    overall = Comparison("linear", together, together - 0.01, together + 0.01)
    return tasks, [Together("valid", "labels", overall)]


def test_as_many_losses_as_chance_gives_make_no_sentence_of_their_own():
    chance, overall = make_rows(["worse"] * 2 + ["none"] * 38)
    sentences = write_headline(chance, overall, "valid", 99, {}, ())
    assert not any("is better than this model" in sentence for sentence in sentences)
    assert any("worse on 2." in sentence for sentence in sentences)
    more, overall = make_rows(["worse"] * 3 + ["none"] * 37)
    sentences = write_headline(more, overall, "valid", 99, {}, ())
    assert (
        sentences[0] == "A linear model is better than this model on 3 of 40 tasks (t0, t1 and t2)."
    )


def test_a_loss_over_all_tasks_is_said_even_where_no_single_task_shows_it():
    tasks, overall = make_rows(["none"] * 5, together=-0.05)
    sentences = write_headline(tasks, overall, "valid", 99, {}, ())
    assert sentences[0] == "Over all tasks together, a linear model is better than this model."


def test_training_rows_alone_are_no_judgement():
    sentences = write_headline(make_rows(["none"])[0], [], "train", 50, HISTORY, ())
    assert any(sentence.startswith("Measured on 50 training rows only") for sentence in sentences)
    assert not any("optimistic" in s or "linear model" in s for s in sentences)


def test_dangers_in_the_table_reach_the_top():
    tasks, overall = make_rows(["better"])
    danger = Finding("leak", "danger", ("a",), "'a' is the sum of 'b' and 'c'.")
    sentences = write_headline(tasks, overall, "valid", 99, HISTORY, [danger])
    assert sentences[-1] == "Look at the table first: 'a' is the sum of 'b' and 'c'."
    assert any("epoch 4 of 9 were kept" in sentence for sentence in sentences)


def test_json_there_and_back(pieces):
    _, baseline, linear = pieces
    report = report_of(
        linear,
        linear,
        baseline,
        findings=[Finding("a", "info", ("x", "y"), "s")],
        switched_on=[("dropout", "0.1")],
        settings={"seed": 1, "nested": {"list": [1, 2]}},
    )
    text = json.dumps(report.to_json(), allow_nan=False)
    again = RunReport.from_json(json.loads(text))
    assert again.to_json() == report.to_json()
    assert again.tasks == report.tasks
    assert again.findings == report.findings
    assert again.switched_on == report.switched_on
    assert again.together == report.together


def test_json_has_no_nan(pieces):
    _, _, linear = pieces
    report = replace(report_of(linear, linear), history={"a": [float("nan"), float("inf"), 1.0]})
    assert report.to_json()["history"] == {"a": [None, None, 1.0]}


@pytest.mark.parametrize(
    "change", [{"schema_version": 99}, {"schema_version": None}, {"tasks": 3}, {"tasks": [{}]}]
)
def test_other_documents_are_refused(pieces, change):
    _, _, linear = pieces
    document = {**report_of(linear, linear).to_json(), **change}
    with pytest.raises(CorruptFile):
        RunReport.from_json(document)


def test_single_networks_are_a_baseline_too(pieces):
    _, _, linear = pieces
    found = judge("valid", noisy(linear["valid"], 1.0), {"single": linear["valid"]})
    assert [c.baseline for c in found.rows[0].comparisons] == ["single", "mean"]
    assert found.rows[0].metrics[0].single is not None
    assert found.rows[0].metrics[0].linear is None


def test_no_rows_is_an_error():
    with pytest.raises(InvalidArgument, match="at least one set"):
        build_report(title="t", sets={}, history={})
