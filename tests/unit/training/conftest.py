"""A small table with a regression and a binary target, models and trainers for it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from polytask import Binary, MultiTaskModel, Regression, Trainer
from polytask.backbones import MLP
from polytask.data import Batch, ResidentBatches
from polytask.tasks import Task, group_tasks
from polytask.training import RandomScope


@dataclass
class Problem:
    """Fitted tasks and an encoded table; `y` is a regression, `z` binary."""

    tasks: list[Task]
    table: Batch

    @property
    def groups(self):
        return group_tasks(self.tasks)

    def model(self, seed: int = 0, double: bool = False, **options) -> MultiTaskModel:
        options = {"width": 8, "depth": 1, "dropout": 0.0} | options
        features = self.table.inputs.shape[1]
        with RandomScope(seed):
            model = MultiTaskModel.hard(MLP(features, **options), self.tasks)
        return model.double() if double else model

    def batches(self, rows: slice = slice(None), *, batch_size: int = 8, **options):
        return ResidentBatches(cut(self.table, rows), batch_size=batch_size, **options)

    def trainer(self, model: nn.Module, **options) -> Trainer:
        return Trainer(model, self.tasks, **options)


def cut(table: Batch, rows: slice) -> Batch:
    return Batch(
        table.inputs[rows].clone(),
        {name: value[rows] for name, value in table.targets.items()},
        {name: value[rows] for name, value in table.masks.items()},
        None if table.row_weights is None else table.row_weights[rows],
        table.rows[rows],
    )


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    def make(rows: int = 32, gaps: float = 0.3, weighted: bool = False, double: bool = False):
        generator = np.random.default_rng(0)
        x = generator.normal(size=(rows, 3))
        y = x @ np.array([1.0, -2.0, 0.5]) + 0.1 * generator.normal(size=rows)
        z = (x[:, 0] + x[:, 1] > 0).astype(float)
        y[generator.random(rows) < gaps] = np.nan
        z[generator.random(rows) < gaps] = np.nan
        tasks = [Regression("y").fit(y), Binary("z").fit(z)]
        encoded = {task.name: task.encode(v) for task, v in zip(tasks, (y, z), strict=True)}
        weights = torch.tensor([0.5, 1.0, 2.0, 0.25]).repeat(rows)[:rows]
        table = Batch(
            torch.from_numpy(x).to(torch.float64 if double else torch.float32),
            {name: target[:, None] for name, (target, _) in encoded.items()},
            {name: mask[:, None] for name, (_, mask) in encoded.items()},
            weights if weighted else None,
            torch.arange(rows),
        )
        return Problem(tasks, table)

    return make


@pytest.fixture
def problem(make_problem) -> Problem:
    return make_problem()


@pytest.fixture
def snapshot() -> Callable[[nn.Module], dict[str, Tensor]]:
    return lambda model: {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def equal() -> Callable[..., bool]:
    """Whether two state dictionaries agree in every bit."""
    return lambda one, two: (
        one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    )
