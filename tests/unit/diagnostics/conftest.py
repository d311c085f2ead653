"""A small table with every kind of target, gaps and row weights, already encoded."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch

from polytask.data.batch import Batch
from polytask.tasks import (
    Binary,
    Count,
    Multiclass,
    Multilabel,
    Regression,
    Task,
    TaskGroup,
    group_tasks,
)


class Table(NamedTuple):
    tasks: list[Task]
    groups: tuple[TaskGroup, ...]
    batch: Batch
    values: dict[str, np.ndarray]


def encoded(
    tasks: Sequence[Task],
    values: dict[str, np.ndarray],
    inputs: dict[str, torch.Tensor],
    weights: np.ndarray | None = None,
) -> Batch:
    groups = group_tasks(tasks)
    targets, masks = {}, {}
    for group in groups:
        pairs = [task.encode(values[task.name]) for task in group.tasks]
        targets[group.name] = torch.stack([target for target, _ in pairs], 1)
        masks[group.name] = torch.stack([mask for _, mask in pairs], 1)
    rows = len(next(iter(inputs.values())))
    row_weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    return Batch(inputs, targets, masks, row_weights, torch.arange(rows))


def build_table(rows: int = 300, seed: int = 0, *, weighted: bool = True) -> Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    codes = rng.integers(0, 5, size=(rows, 1))
    effect = np.array([0.0, 0.0, 1.5, -1.5, 0.5])[codes[:, 0]]
    signal = x @ np.array([1.0, -2.0, 0.5, 0.0]) + effect
    values: dict[str, np.ndarray] = {
        "level": 50 + 8 * (signal + 0.5 * rng.normal(size=rows)),
        "price": 3 - 2 * (x[:, 0] + 0.3 * rng.normal(size=rows)),
        "churn": (signal + rng.logistic(size=rows) > 0.8).astype(float),
        "colour": np.array(["red", "green", "blue"], dtype=object)[
            np.argmax(x[:, :3] + rng.gumbel(size=(rows, 3)), 1)
        ],
        "visits": rng.poisson(np.exp(0.4 * x[:, 0] + 0.5)).astype(float),
        "tags": (x[:, :2] + 0.5 * rng.normal(size=(rows, 2)) > 0).astype(float),
    }
    for name in ("level", "churn", "visits"):
        values[name] = np.where(rng.random(rows) < 0.2, np.nan, values[name])
    values["tags"][rng.random((rows, 2)) < 0.2] = np.nan
    specs = [
        Regression("level"),
        Binary("churn"),
        Regression("price"),
        Multiclass("colour"),
        Count("visits"),
        Multilabel("tags", columns=("a", "b")),
    ]
    weights = rng.uniform(0.5, 2.0, rows) if weighted else None
    tasks = [spec.fit(values[spec.name], weights) for spec in specs]
    inputs = {
        "numeric": torch.tensor(x, dtype=torch.float32),
        "categories": torch.tensor(codes),
    }
    return Table(tasks, group_tasks(tasks), encoded(tasks, values, inputs, weights), values)


@pytest.fixture
def table() -> Table:
    """300 rows, six tasks of five kinds."""
    return build_table()


@pytest.fixture(scope="session")
def make_table() -> Callable[..., Table]:
    """The factory behind `table`."""
    return build_table


@pytest.fixture(scope="session")
def encode() -> Callable[..., Batch]:
    """Fitted tasks, raw values and inputs → one batch."""
    return encoded
