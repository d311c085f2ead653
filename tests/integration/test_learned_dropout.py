"""Learned dropout in training: its term joins the update once, and rows decide where p goes."""

import numpy as np
import pandas as pd
import pytest
import torch

from polytask import MultiTaskModel, Regression, Trainer
from polytask.aggregation import UPGrad
from polytask.backbones import MLP
from polytask.backbones.concrete_dropout import learned_dropout
from polytask.balancing import FixedWeights
from polytask.config import run_from_document
from polytask.data.batch import Batch
from polytask.data.batches import ResidentBatches
from polytask.gradients import MultiTaskBackward
from polytask.optim import OptimizerSpec
from polytask.pipeline import fit_table
from polytask.training import NoStopping
from polytask.training.step import Step

SGD = OptimizerSpec("sgd", learning_rate=1.0, weight_decay=0.0, momentum=0.0)


def table(rows=40):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(rows, 3)).astype(np.float32)
    columns = {"a": x[:, 0] - x[:, 1], "b": x[:, 0] + draw.normal(size=rows)}
    tasks = [Regression(name).fit(values) for name, values in columns.items()]
    pairs = [task.encode(columns[task.name]) for task in tasks]
    targets = {"a": torch.stack([pair[0] for pair in pairs], 1).float()}
    masks = {"a": torch.stack([pair[1] for pair in pairs], 1)}
    return tasks, Batch(torch.from_numpy(x), targets, masks, None, torch.arange(rows))


def network(tasks, rows, **options):
    torch.manual_seed(0)
    options = {"width": 16, "depth": 2, "dropout": 0.2, "length_scale": 0.3, **options}
    return MultiTaskModel.hard(MLP(3, concrete_rows=rows, **options), tasks)


def moved(make, parts, factor):
    """How far one update of step size 1 moves every parameter; the term counts `factor` times."""
    tasks, batch = table()
    model = network(tasks, 40)
    terms = model.backbone.penalties
    model.backbone.penalties = lambda heads: {name: factor * t for name, t in terms(heads).items()}
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    own = terms(model.heads.weights())["concrete dropout"]
    slopes = torch.autograd.grad(own, list(model.parameters()), allow_unused=True)
    step = Step(model, model.groups, make(), SGD.build(model.roles()), clip_norm=0.0)
    batches = ResidentBatches(batch, batch_size=20, shuffle=False)
    torch.manual_seed(5)
    assert step.update(next(iter(batches.windows(parts))))
    after = {name: before[name] - value.detach() for name, value in model.named_parameters()}
    expected = {
        name: torch.zeros_like(value) if slope is None else slope
        for (name, value), slope in zip(before.items(), slopes, strict=True)
    }
    return after, expected


def check_once(make, parts, factor=1.0):
    """What the term adds to the update is its own gradient, whatever the tasks weigh."""
    found, expected = moved(make, parts, factor)
    without, _ = moved(make, parts, 0.0)
    for name, slope in expected.items():
        torch.testing.assert_close(found[name] - without[name], slope, rtol=2e-4, atol=2e-6)
    assert float(expected["backbone.layers.2.logit"].abs()) > 1e-3


BALANCES = {
    "losses": lambda: FixedWeights([1.0, 5.0]),
    "gradients": lambda: MultiTaskBackward(UPGrad()),
}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("balance", BALANCES)
def test_the_term_is_added_once_and_unweighted(balance, parts):
    check_once(BALANCES[balance], parts)


@pytest.mark.parametrize("factor", [2.0, 1 / 6])  # once per micro-batch; with a task's weight
def test_a_wrong_share_is_found(factor):
    with pytest.raises(AssertionError):
        check_once(BALANCES["losses"], 2, factor)


def probabilities_after(rows):
    """Training on the same 40 rows, told that the table has so many."""
    tasks, batch = table()
    model = network(tasks, rows, depth=1, length_scale=1e-4)
    Trainer(
        model, tasks, epochs=40, stopping=NoStopping(), seed=1,
        optimizer=OptimizerSpec(learning_rate=0.02, weight_decay=0.0),
    ).fit(ResidentBatches(batch, batch_size=20, seed=1))  # fmt: skip
    return learned_dropout(model)


def test_few_rows_draw_the_probability_up_and_many_down():
    few, many = probabilities_after(5), probabilities_after(10**6)
    assert few[0] > 0.3 > 0.2 > many[0]


def test_the_report_says_what_was_learned():
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(90, 4)), columns=["x0", "x1", "x2", "y"])
    run = run_from_document(
        {
            "targets": [{"name": "y"}],
            "model": {"width": 8, "depth": 2, "concrete_dropout": True},
            "training": {"epochs": 3, "stopping": "none"},
        }
    )
    result = fit_table(frame, run, baselines=False)
    words = dict(result.report.switched_on)
    learned = ", ".join(f"{p:.3g}" for p in learned_dropout(result.model))
    assert words["concrete dropout"].endswith(f"learned, layer by layer: {learned}")
    assert learned != "0.1, 0.1"
    assert "dropout" not in words
    assert result.model.backbone.concrete_rows == len(result.prepared.split.train)
    spread = result.bundle.predict(frame.head(4), samples=10, seed=1)["y_spread"]
    assert (spread > 0).all()


def test_the_report_says_it_of_all_weights_that_predict():
    """Every task has the weights of its own best epoch, and probabilities of its own with them."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(90, 5)), columns=["x0", "x1", "x2", "y", "z"])
    frame["y"] += 3 * frame["x0"]
    run = run_from_document(
        {
            "targets": [{"name": "y"}, {"name": "z"}],
            "model": {"width": 8, "depth": 2, "concrete_dropout": True},
            "optimizer": {"learning_rate": 0.05},
            "training": {"epochs": 20, "keep": "per-task"},
        }
    )
    result = fit_table(frame, run, baselines=False)
    assert len(result.bundle.members) == 2
    words = dict(result.report.switched_on)
    assert words["concrete dropout"].startswith("from 0.1")
    assert "learned, layer by layer" not in words["concrete dropout"]
    for task, member in result.bundle.serves.items():
        learned = ", ".join(f"{p:.3g}" for p in learned_dropout(result.bundle.members[member]))
        assert words[f"concrete dropout of {task}"] == f"learned, layer by layer: {learned}"
    assert words["concrete dropout of y"] != words["concrete dropout of z"]
