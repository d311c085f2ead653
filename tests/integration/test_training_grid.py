"""Every kind of task with every network, optimizer and balancer: finite, and everything moves."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from polytask import Binary, Count, Multiclass, Multilabel, MultiTaskModel, Regression, Trainer
from polytask.backbones import MLP, ResidualMLP
from polytask.balancing import (
    EqualWeights,
    FixedWeights,
    LossBalancer,
    PooledLoss,
    ScheduledWeights,
)
from polytask.data import Batch, ResidentBatches
from polytask.optim import OptimizerSpec, constant, linear
from polytask.tasks import group_tasks
from polytask.training import RandomScope

ROWS = 48


class Learned(LossBalancer):
    """Uncertainty weighting: Σ (e^(−s) L + s) over the present tasks."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.log_variances = nn.Parameter(torch.zeros(num_tasks))

    def objective(self, losses, present, counts):
        terms = torch.exp(-self.log_variances) * losses + self.log_variances
        return (terms * present).sum()


def columns():
    generator = np.random.default_rng(0)
    classes = generator.integers(0, 3, ROWS)
    values = {
        "squared": (Regression("squared"), generator.normal(size=ROWS)),
        "absolute": (Regression("absolute", loss="absolute"), generator.normal(size=ROWS)),
        "huber": (Regression("huber", loss="huber"), generator.normal(size=ROWS)),
        "binary": (Binary("binary"), generator.integers(0, 2, ROWS).astype(float)),
        "balanced": (
            Binary("balanced", class_weight="balanced", label_smoothing=0.1),
            (np.arange(ROWS) % 5 == 0).astype(float),
        ),
        "classes": (Multiclass("classes"), np.array(["a", "b", "c"], dtype=object)[classes]),
        "labels": (
            Multilabel("labels", columns=("one", "two")),
            generator.integers(0, 2, (ROWS, 2)).astype(float),
        ),
        "count": (Count("count"), generator.poisson(2.0, ROWS).astype(float)),
    }
    for index, (spec, value) in enumerate(values.values()):
        value[index :: len(values)] = None if value.dtype == object else np.nan
        yield spec.fit(value), value


TASKS = list(columns())
MODELS = {"mlp": MLP, "residual": ResidualMLP}
BALANCERS = {
    "equal": EqualWeights,
    "fixed": lambda num: FixedWeights([1.0 + k for k in range(num)]),
    "scheduled": lambda num: ScheduledWeights(
        [linear([(0, 1.0), (1, 2.0)]), *[constant()] * (num - 1)]
    ),
    "pooled": PooledLoss,
    "learned": Learned,
}


def table(groups) -> Batch:
    generator = torch.Generator().manual_seed(0)
    encoded = {task.name: task.encode(value) for task, value in TASKS}
    return Batch(
        {
            "numeric": torch.randn(ROWS, 4, generator=generator),
            "categories": torch.arange(ROWS)[:, None] % 6,
        },
        {g.name: torch.stack([encoded[t.name][0] for t in g.tasks], dim=1) for g in groups},
        {g.name: torch.stack([encoded[t.name][1] for t in g.tasks], dim=1) for g in groups},
        torch.linspace(0.5, 1.5, ROWS),
        torch.arange(ROWS),
    )


@pytest.mark.parametrize(
    ("network", "optimizer", "balance", "normalization"),
    [
        (*choice, ("none", "batch", "layer")[index % 3])
        for index, choice in enumerate(
            itertools.product(MODELS, ("sgd", "adam", "adamw"), BALANCERS)
        )
    ],
)
def test_three_updates(network, optimizer, balance, normalization):
    tasks = [task for task, _ in TASKS]
    with RandomScope(0):
        backbone = MODELS[network](4, [6], width=16, depth=2, normalization=normalization)
        model = MultiTaskModel.hard(backbone, tasks)
    balancer = BALANCERS[balance](len(tasks))
    rows = table(group_tasks(tasks))
    parameters = {**dict(model.named_parameters()), **dict(balancer.named_parameters())}
    before = {name: value.detach().clone() for name, value in parameters.items()}
    trainer = Trainer(
        model,
        tasks,
        optimizer=OptimizerSpec(optimizer, learning_rate=1e-2, momentum=0.9),
        balance=balancer,
        epochs=1,
    )
    history = trainer.fit(
        ResidentBatches(rows, batch_size=16), ResidentBatches(rows, batch_size=16)
    )
    (record,) = history.epochs
    assert (record.steps, record.skipped) == (3, 0)
    for numbers in (record.running, record.train, record.valid, record.weights):
        assert len(numbers) == len(tasks)
        assert np.isfinite(np.array(numbers, dtype=float)).all()
    assert all(weight > 0 for weight in record.weights)
    unmoved = {name for name, value in parameters.items() if torch.equal(before[name], value)}
    if normalization == "batch":  # it takes the mean away: the bias before it has no gradient
        unmoved -= {name for name in unmoved if name.startswith("backbone") and "bias" in name}
    assert unmoved == set()
    if balance != "learned":
        assert sum(record.weights) == pytest.approx(1.0)
