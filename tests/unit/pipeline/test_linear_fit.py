"""The linear model of all tasks: every kind of label, wide and long, with gaps."""

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.config.auto import decide
from polytask.config.run import RunConfig
from polytask.errors import UnknownName
from polytask.pipeline.linear_fit import fit_linear, fit_linear_table
from polytask.pipeline.prepare import Prepared, prepare

KINDS = {
    "size": "regression",
    "large": "binary",
    "shape": "multiclass",
    "events": "count",
}


def wide(rows: int = 160) -> pd.DataFrame:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 3))
    site = random.integers(0, 14, rows)
    signal = x[:, 0] - 0.5 * x[:, 1] + (site % 2)
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["site"] = [f"site {i}" for i in site]
    frame["size"] = 10 + 3 * signal + 0.1 * random.normal(size=rows)
    frame["large"] = np.where(signal > 0.3, "yes", "no")
    frame["shape"] = np.array(["flat", "round", "tall"])[np.digitize(signal, [-0.3, 0.9])]
    frame["events"] = random.poisson(np.exp(0.5 * signal)).astype(float)
    frame.loc[::4, "size"] = np.nan
    frame.loc[1::5, "large"] = None
    return frame


def prepared(frame: pd.DataFrame, **sections) -> tuple[Prepared, RunConfig]:
    run = decide(RunConfig.model_validate(sections))
    return prepare(frame, run), run


def all_kinds() -> tuple[Prepared, RunConfig]:
    targets = [{"name": name, "kind": kind} for name, kind in KINDS.items()]
    return prepared(wide(), targets=targets)


def test_every_kind_beats_its_constant():
    table, run = all_kinds()
    fit, history = fit_linear_table(table, run, penalty="ridge")
    assert history.tasks == list(KINDS)
    assert history.best_epoch == 1
    (epoch,) = history.epochs
    for name, own, constant in zip(history.tasks, epoch.valid, history.baseline, strict=True):
        assert own < constant, name
    relative = [own / constant for own, constant in zip(epoch.valid, history.baseline, strict=True)]
    assert relative[0] < 0.1  # with the linear part known, only noise is left
    assert max(relative[:3]) < 0.7
    assert [c.name for c in fit.candidates] == ["ridge"]


def test_the_weights_in_the_model_are_the_solution():
    table, run = all_kinds()
    fit, _ = fit_linear_table(table, run, penalty="ridge")
    width = fit.model.backbone.width
    assert fit.weights.shape == (width, 1 + 1 + 3 + 1)
    assert fit.tasks == ("size", "large", "shape", "shape", "shape", "events")
    stacked = torch.cat([s.weight.detach().flatten(0, 1) for s in fit.model.heads.stacks])
    assert np.allclose(stacked.numpy().T, fit.weights, rtol=1e-5, atol=1e-6)
    swapped = fit.weights[:, ::-1]
    assert not np.allclose(stacked.numpy().T, swapped, atol=1e-2)
    names = [f"column {i}" for i in range(width)]
    assert {t for row in fit.features(names) for t in row.tasks} == set(KINDS)


def test_ridge_is_scikit_learns_on_standardised_columns():
    from sklearn.linear_model import Ridge

    frame = wide()[["a", "b", "c", "size"]].dropna()
    table, run = prepared(frame, targets=[{"name": "size"}], data={"numeric_scaling": "none"})
    fit, _ = fit_linear_table(table, run, penalty="ridge")
    train = table.tables["train"]
    x = train.inputs["numeric"].double().numpy()
    y = train.targets["size"][:, 0].double().numpy()
    alpha = fit.strengths[0] * len(x)
    peer = Ridge(alpha).fit((x - x.mean(0)) / x.std(0), y)
    assert np.allclose(fit.weights[:, 0] * x.std(0), peer.coef_, atol=1e-6)
    assert not np.allclose(fit.weights[:, 0] * x.std(0), Ridge(alpha + 5).fit(
        (x - x.mean(0)) / x.std(0), y).coef_, atol=1e-3)  # fmt: skip


def test_labels_with_gaps():
    frame = wide()
    frame["red"] = (frame["a"] > 0).astype(float)
    frame["blue"] = (frame["b"] > 0).astype(float)
    frame.loc[::3, "blue"] = np.nan
    targets = [{"name": "colours", "columns": ["red", "blue"], "kind": "multilabel"}]
    table, run = prepared(frame.drop(columns=list(KINDS)), targets=targets)
    _, history = fit_linear_table(table, run, penalty="ridge")
    assert history.epochs[0].valid[0] < 0.5 * history.baseline[0]


def long_form(schools: int = 12) -> pd.DataFrame:
    random = np.random.default_rng(1)
    mean = random.normal(size=4)
    parts = []
    for school in range(schools):
        x = random.normal(size=(20, 4))
        y = x @ (mean + 0.1 * random.normal(size=4)) + school + random.normal(size=20)
        parts.append(pd.DataFrame(x, columns=list("abcd")).assign(school=f"s{school}", y=y))
    return pd.concat(parts, ignore_index=True)


def test_similar_tasks_of_a_long_table_share_their_mean():
    table, run = prepared(
        long_form(), targets=[{"name": "y", "kind": "regression"}], data={"task_column": "school"}
    )
    fit, history = fit_linear_table(table, run)
    assert fit.chosen == "mean-regularised"
    assert len(history.tasks) == 12
    spread = fit.weights.std(1).mean()
    assert spread < 0.3 * np.abs(fit.weights.mean(1)).mean()


def test_the_global_random_state_is_left_alone():
    table, _ = all_kinds()
    before = torch.get_rng_state()
    fit = fit_linear(
        table.tables["train"],
        table.groups,
        cardinalities=table.encoder.cardinalities,
        penalty="ridge",
        count=3,
    )
    assert torch.equal(torch.get_rng_state(), before)
    again = fit_linear(
        table.tables["train"],
        table.groups,
        cardinalities=table.encoder.cardinalities,
        penalty="ridge",
        count=3,
    )
    assert np.array_equal(fit.weights, again.weights)


def test_an_unknown_penalty_names_the_nearest():
    table, _ = all_kinds()
    with pytest.raises(UnknownName, match="'nuclear'"):
        fit_linear(table.tables["train"], table.groups, penalty="nucelar")
