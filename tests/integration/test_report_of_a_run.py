"""From a table to its report: what a real run says about itself."""

import json

import numpy as np
import pandas as pd
import pytest

from polytask.config.run import DataConfig, ModelConfig, RunConfig, TargetConfig, TrainingConfig
from polytask.diagnostics import RunReport
from polytask.pipeline import fit_table
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
def untrained():
    """One epoch at the default rate: far from what a linear model reaches."""
    return fit_table(linear_table(), run_config(1)).report


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
