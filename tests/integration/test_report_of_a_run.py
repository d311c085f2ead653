"""From a table to its report: what a real run says about itself."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.config.run import DataConfig, ModelConfig, RunConfig, TargetConfig, TrainingConfig
from polytask.diagnostics import RunReport
from polytask.optim import Kind
from polytask.pipeline import fit_table
from polytask.pipeline.report import make_report
from polytask.regularization.objective import PenaltySummary, Zeros
from polytask.reports import render_html

HOSTILE = "</script><script>alert(1)</script>"


def linear_table(rows=400, seed=0):
    """Both targets are linear in the inputs: ridge and logistic regression are hard to beat."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    level = x @ [3.0, -2.0, 1.0, 0.0, 0.0] + 0.2 * rng.normal(size=rows)
    return pd.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            HOSTILE: x[:, 2],
            "c": x[:, 3],
            "region": np.array(list("pqrs"))[rng.integers(0, 4, rows)],
            "level": np.where(rng.random(rows) < 0.2, np.nan, 10 + 4 * level),
            "churn": np.where(level + rng.logistic(size=rows) > 0, "yes", "no"),
        }
    )


def run_config(epochs):
    return RunConfig(
        targets=(TargetConfig(name="level"), TargetConfig(name="churn")),
        model=ModelConfig(width=16, depth=1),
        training=TrainingConfig(epochs=epochs, device="cpu"),
    )


@pytest.fixture(scope="module")
def fitted():
    """One epoch at the default rate: far from what a linear model reaches."""
    return fit_table(linear_table(), run_config(1))


@pytest.fixture(scope="module")
def untrained(fitted):
    return fitted.report


def test_a_loss_to_a_linear_model_is_the_first_sentence(untrained):
    assert untrained.headline[0].startswith("A linear model is better than this model on 2 of 2")
    for task in untrained.tasks:
        assert task.on("valid").verdict("linear") == "worse"
        assert task.on("train").labels == task.labels_train
    assert untrained.tasks[0].linear.startswith("ridge regression")
    assert untrained.tasks[1].linear.startswith("logistic regression")


def test_report_agrees_with_the_history(untrained):
    """The loss of the kept weights is the one measured during training, on the same rows."""
    history = untrained.history
    kept = history["epochs"][history["best_epoch"] - 1]
    for index, task in enumerate(untrained.tasks):
        assert task.on("valid").loss == pytest.approx(kept["valid"][index], rel=1e-4)
        mean = task.on("valid").metrics[-1].mean
        assert mean == pytest.approx(history["baseline"][index], rel=1e-4)


def test_a_real_run_is_rendered_and_survives_json(untrained):
    text = render_html(untrained)
    assert len(text.encode()) < 2_000_000
    assert HOSTILE not in text
    again = RunReport.from_json(json.loads(json.dumps(untrained.to_json(), allow_nan=False)))
    assert render_html(again) == text


def test_tasks_of_one_column_share_their_linear_model():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "school": np.array(["n", "s", "w"])[np.arange(240) % 3],
            "x": rng.normal(size=240),
            "z": rng.normal(size=240),
        }
    )
    frame["score"] = 5 * frame.x + (frame.school == "s") * 9 + rng.normal(size=240)
    run = RunConfig(
        targets=(TargetConfig(name="score", kind="regression"),),
        data=DataConfig(task_column="school"),
        model=ModelConfig(width=8, depth=1),
        training=TrainingConfig(epochs=1, device="cpu"),
    )
    report = fit_table(frame, run).report
    assert len(report.tasks) == 3
    assert all("one model for all 3 tasks" in task.linear for task in report.tasks)
    assert {row.weighting for row in report.together} == {"labels"}
    assert any("Over all tasks together" in s or "every label" in s for s in report.headline)


def test_a_run_measures_every_part(untrained):
    names = [task.name for task in untrained.tasks]
    assert [verdict.task for verdict in untrained.verdicts] == names
    assert [(gap.name, gap.when) for gap in untrained.gaps] == [
        ("level", "kept"), ("churn", "kept"), ("level", "end"), ("churn", "end"),
    ]  # fmt: skip
    assert untrained.gaps[0].gap == pytest.approx(untrained.tasks[0].gap)
    assert untrained.regret.tasks == tuple(names)
    assert untrained.trunk_gradients.tasks == tuple(names)
    assert untrained.structure.heads[0].names == tuple(names)
    assert [found.name for found in untrained.calibration] == ["churn"]
    assert [found.name for found in untrained.residuals] == ["level"]
    card = untrained.data_card
    assert card.rows == untrained.split["rows"]
    assert card.duplicates == {"valid": 0}
    assert [task.labels["train"] for task in card.tasks] == [
        task.labels_train for task in untrained.tasks
    ]


def test_residuals_agree_with_the_metrics(untrained):
    rmse = untrained.tasks[0].on("valid").metrics[0].model
    points = np.array(untrained.residuals[0].points)
    assert len(points) == untrained.tasks[0].on("valid").labels
    assert np.sqrt(np.mean((points[:, 0] - points[:, 1]) ** 2)) == pytest.approx(rmse, rel=1e-3)


def again(fitted, **options):
    return make_report(
        fitted.prepared,
        fitted.run,
        fitted.bundle.members[0],
        fitted.history,
        seconds=1.0,
        baselines=False,
        **options,
    )


def test_a_frozen_model_is_measured_too(fitted, untrained):
    """A bundle's members are frozen; their gradients are those of the run."""
    found = again(fitted)
    assert found.trunk_gradients == untrained.trunk_gradients
    assert found.data_card == untrained.data_card


def test_what_was_on_says_what_decays_and_what_does_not(fitted):
    model = fitted.bundle.members[0]
    infos = model.roles()
    weights = [info.parameter for info in infos if info.kind is Kind.WEIGHT]
    others = [info.parameter for info in infos if info.kind is not Kind.WEIGHT]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=0.01
    )
    report = again(fitted, optimizer=optimizer, techniques=[("mixup", "0.2"), ("mixup", "twice")])
    on = dict(report.switched_on)
    assert "halves a weight in 693 updates" in on["weight decay"]
    assert "biases: " in on["not decayed"]
    assert on["mixup"] == "0.2; twice"
    decayed = {row.name for row in report.structure.layers if row.decay_per_step}
    assert decayed == {info.name for info in infos if info.kind is Kind.WEIGHT}


def test_penalties_arrive_with_their_parameters_and_zeros(fitted):
    model = fitted.bundle.members[0]
    names = tuple(info.name for info in model.roles() if info.kind is Kind.WEIGHT)
    summary = PenaltySummary("lasso", 0.1, "lasso of strength 0.1", "prox", names, {})
    report = again(fitted, penalties=[summary], zeros={"lasso": Zeros(5, 100, 1, 10)})
    assert dict(report.switched_on)["lasso"].startswith("lasso of strength 0.1; proximal step")
    (row,) = report.structure.penalties
    assert (row.entries, row.parameters) == (5, len(names))


def test_an_earlier_report_of_the_same_weights_is_taken_over(fitted, untrained):
    report = again(fitted, earlier=untrained)
    assert report.structure is untrained.structure
    assert report.switched_on is untrained.switched_on


def test_rows_on_both_sides_of_the_split_are_counted():
    table = linear_table(200)
    double = pd.concat([table, table.iloc[:50]], ignore_index=True)
    report = fit_table(double, run_config(1), baselines=False).report
    found = report.data_card.duplicates["valid"]
    assert 5 <= found <= 50
    assert report.data_card.same_labels["valid"] == found
