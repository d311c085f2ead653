"""A kind of target that polytask does not have, by subclassing: quantile regression."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from polytask.errors import UnknownName
from polytask.metrics import Metric, masked_metric
from polytask.tasks import Task, TaskSpec, group_tasks, task_from_json, task_to_json


@dataclass(frozen=True)
class Quantile(TaskSpec):
    kind: ClassVar[str] = "quantile"
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)

    def fit(self, values, weights=None) -> "QuantileTask":
        return QuantileTask(self, np.nanquantile(values, self.levels).tolist())


class QuantileTask(Task):
    def __init__(self, spec: Quantile, quantiles: list[float]) -> None:
        self.spec, self.quantiles = spec, quantiles
        self.outputs = len(spec.levels)

    def encode(self, values):
        values = torch.tensor(values, dtype=torch.float32)
        return values.nan_to_num(0.0), ~values.isnan()

    def loss(self, output, target):
        level = output.new_tensor(self.spec.levels)
        residual = target[..., None] - output
        return torch.maximum(level * residual, (level - 1) * residual).mean(-1)

    def predict(self, output):
        return {f"q{100 * q:g}": output[:, i].numpy() for i, q in enumerate(self.spec.levels)}

    def metrics(self) -> Mapping[str, Metric]:
        def coverage(quantiles, target, weight):
            inside = (target >= quantiles[:, 0]) & (target <= quantiles[:, -1])
            return float(inside.double().mean())

        metric = masked_metric(
            "coverage", coverage, higher_is_better=True, link=lambda output: output
        )
        return {"coverage": metric}

    def baseline(self):
        return torch.tensor(self.quantiles)

    def state(self) -> dict[str, Any]:
        return {"quantiles": self.quantiles}

    @classmethod
    def from_state(cls, spec, state):
        return cls(spec, state["quantiles"])


CELLS = np.array([1.0, 2.0, np.nan, 4.0, 8.0])


def test_it_is_a_task_like_the_others():
    task = Quantile("income").fit(CELLS)
    target, mask = task.encode(CELLS)
    output = task.baseline().expand(5, 3)
    loss = task.loss(output, target)
    assert loss.shape == (5,)
    assert task.metrics()["coverage"].compute(output, target, mask, None) == 0.5
    assert task.describe() == "quantile"
    assert list(task.predict(output)) == ["q10", "q50", "q90"]


def test_it_keeps_its_own_head_unless_it_says_otherwise():
    groups = group_tasks([Quantile("a").fit(CELLS), Quantile("b").fit(CELLS)])
    assert [group.indices for group in groups] == [(0,), (1,)]


def test_json_needs_the_classes():
    task = Quantile("income", levels=(0.25, 0.75)).fit(CELLS)
    document = task_to_json(task)
    again = task_from_json(document, task_types=(Quantile, QuantileTask))
    assert again.spec == task.spec
    assert torch.equal(again.baseline(), task.baseline())
    with pytest.raises(UnknownName, match=r"'Quantile' does not exist.*task_types=\(…\)"):
        task_from_json(document)
    with pytest.raises(UnknownName, match="'QuantileTask' does not exist"):
        task_from_json(document, task_types=(Quantile,))
