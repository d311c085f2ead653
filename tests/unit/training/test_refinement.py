"""Refine, then calibrate: the epoch is chosen by what a temperature cannot mend."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from polytask import Binary, MultiTaskModel, Regression, Trainer
from polytask.backbones import MLP
from polytask.data.batch import Batch
from polytask.data.batches import ResidentBatches
from polytask.optim import OptimizerSpec
from polytask.tasks import group_tasks
from polytask.training import RandomScope, Regret
from polytask.training.refinement import refined_losses


def problem():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(160, 5)).astype(np.float32)
    z = (x[:, 0] + generator.normal(size=160) > 0).astype(float)
    y = x[:, 1] + generator.normal(size=160)
    tasks = [Binary("z").fit(z), Regression("y").fit(y)]
    encoded = {"z": tasks[0].encode(z), "y": tasks[1].encode(y)}

    def part(rows: slice) -> ResidentBatches:
        table = Batch(
            torch.from_numpy(x[rows]),
            {name: target[rows, None] for name, (target, _) in encoded.items()},
            {name: mask[rows, None] for name, (_, mask) in encoded.items()},
            None,
            torch.arange(len(x[rows])),
        )
        return ResidentBatches(table, batch_size=32)

    with RandomScope(0):
        model = MultiTaskModel.hard(MLP(5, width=32, depth=2, dropout=0.0), tasks)
    return tasks, model, part(slice(0, 80)), part(slice(80, 160))


def test_the_refined_loss_is_the_minimum_over_temperatures():
    tasks, model, _, valid = problem()
    with torch.no_grad():
        model.heads.of("z")[0].mul_(40.0)
    rows = list(valid.epoch())
    model.eval()
    logits = torch.cat([model(b.inputs).outputs["z"][:, 0, 0] for b in rows]).double().detach()
    labels = torch.cat([b.targets["z"][:, 0] for b in rows]).double()
    best = minimize_scalar(
        lambda t: float(functional.binary_cross_entropy_with_logits(logits / np.exp(t), labels)),
        bounds=(-3, 3), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    found = refined_losses(model, valid.epoch(), group_tasks(tasks), [9.0, 0.5])
    assert found[0] == pytest.approx(best.fun, abs=1e-9)
    assert found[1] == 0.5
    assert refined_losses(model, valid.epoch(), group_tasks(tasks), [None, 0.5])[0] is None


def test_the_epoch_is_chosen_by_the_refined_losses():
    tasks, model, train, valid = problem()
    trainer = Trainer(
        model, tasks, optimizer=OptimizerSpec(learning_rate=1e-2), refine=True,
        stopping=Regret(patience=60), epochs=60, seed=1,
    )  # fmt: skip
    history = trainer.fit(train, valid)
    base = history.baseline
    scores = [sum(v / b for v, b in zip(r.refined, base, strict=True)) for r in history.epochs]
    plain = [sum(v / b for v, b in zip(r.valid, base, strict=True)) for r in history.epochs]
    assert history.best_epoch == int(np.argmin(scores)) + 1
    assert all(r.refined[0] <= r.valid[0] + 1e-9 for r in history.epochs)
    assert scores[-1] < plain[-1], "the network never became too sure: the test shows nothing"
