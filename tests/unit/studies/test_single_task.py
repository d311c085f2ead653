"""One network per task sees the same rows and nothing of the other targets."""

import numpy as np
import pandas as pd
import pytest

from polytask.config.run import RunConfig
from polytask.errors import Unsupported
from polytask.pipeline import fit_table
from polytask.studies import compare_with_single_tasks, fit_single_tasks


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 2))
    y = x[:, 0] + 0.1 * generator.normal(size=120)
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": y, "twin": 2 * y, "z": x[:, 1] > 0})


@pytest.fixture(scope="module")
def result(frame):
    document = {
        "targets": [{"name": "y"}, {"name": "twin"}, {"name": "z"}],
        "model": {"width": 8, "depth": 1},
        "training": {"epochs": 2},
    }
    return fit_table(frame, RunConfig.model_validate(document), baselines=False)


def test_other_targets_are_no_inputs(frame, result):
    """With `twin` among its inputs, the network for `y` would look unbeatable."""
    bundles = fit_single_tasks(frame, result)
    assert list(bundles) == ["y", "twin", "z"]
    for name, bundle in bundles.items():
        assert bundle.manifest["columns"] == ["a", "b"]
        assert [task.name for task in bundle.tasks] == [name]


def test_targets_are_standardised_on_the_same_training_rows(frame, result):
    alone = fit_single_tasks(frame, result)["y"].tasks[0]
    together = result.bundle.tasks[0]
    assert alone.state() == together.state()


def test_the_report_holds_both(frame, result):
    report = compare_with_single_tasks(frame, result)
    bundles = fit_single_tasks(frame, result)
    for task in report.tasks:
        (valid,) = [part for part in task.sets if part.rows == "valid"]
        assert all(metric.single is not None for metric in valid.metrics)
        assert "single" in {comparison.baseline for comparison in valid.comparisons}
    rows = result.prepared.frames["valid"]
    predicted = bundles["y"].predict(rows)["y"].to_numpy()
    rmse = float(np.sqrt(np.mean((predicted - rows["y"].to_numpy()) ** 2)))
    (valid,) = [part for part in report.tasks[0].sets if part.rows == "valid"]
    (metric,) = [metric for metric in valid.metrics if metric.name == "rmse"]
    assert metric.single == pytest.approx(rmse, rel=1e-5)


def test_long_tables_are_refused(frame):
    long = frame.assign(group=["p", "q"] * 60)
    run = RunConfig.model_validate(
        {
            "targets": [{"name": "y"}],
            "data": {"task_column": "group", "ignore": ["twin", "z"]},
            "model": {"width": 8},
            "training": {"epochs": 1},
        }
    )
    with pytest.raises(Unsupported, match="needs a wide table"):
        fit_single_tasks(long, fit_table(long, run, baselines=False))
