"""Counts: a log-rate, the expected count, the exact Poisson likelihood."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from polytask._checks import require
from polytask.errors import DataError
from polytask.metrics.base import Metric
from polytask.metrics.count import count_metrics

from .base import Task, TaskSpec, full_precision
from .values import Numbers, read_numbers, weights_of_labels

SMALLEST_RATE = 1e-6
"""Expected count where the training rows have only zeros: its logarithm has to be finite."""


@final
@dataclass(frozen=True)
class Count(TaskSpec):
    r"""A number of events: 0, 1, 2, ….

    The output is the logarithm of the expected count :math:`\eta`; the loss is the exact negative
    Poisson log-likelihood :math:`e^\eta - y\,\eta + \log y!`.

    Args:
        name: Name of the task.
        columns: Its column, if that has another name.
        weight: Relative weight of the task, at least 0.

    Example:
        >>> task = Count("visits").fit(np.array([0, 1, 5]))
        >>> task.describe()
        'count, Poisson likelihood (mean 2)'
        >>> task.predict(task.baseline()[None])[""].round(6).tolist()
        [2.0]

    Reference:
        P. McCullagh and J. A. Nelder, "Generalized Linear Models", 2nd edition, 1989, chapter 6
        (the Poisson model with its canonical log link).
    """

    kind: ClassVar[str] = "count"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.columns) < 2, "columns", "name one column for count", self.columns)

    def fit(self, values: NDArray[Any], weights: NDArray[Any] | None = None) -> "CountTask":
        """Mean of the training labels."""
        counts = self.read(values)
        labelled = ~np.isnan(counts)
        kept = weights_of_labels(self.name, labelled, weights)
        mean = float(np.average(np.where(labelled, counts, 0.0), weights=kept))
        return CountTask(self, mean)

    def read(self, values: NDArray[Any]) -> Numbers:
        """Cells as float64, missing ones as NaN.

        Raises:
            DataError: If a cell is negative or fractional; the error shows it.
        """
        counts = read_numbers(self.name, self.kind, values)
        wrong = counts[(counts < 0) | (counts % 1 > 0)]
        if len(wrong):
            raise DataError(
                f"Target {self.name!r} cannot be a count target: {wrong[0]:g} is not a number of "
                f"events (0, 1, 2, …). Type '{self.name}:regression'."
            )
        return counts


@final
@dataclass(frozen=True)
class CountTask(Task):
    """A fitted `Count`.

    Args:
        spec: What the user said.
        mean: Mean of the training labels.
    """

    spec: Count
    mean: float
    outputs: int = field(default=1, init=False)

    def encode(self, values: NDArray[Any]) -> tuple[Tensor, Bool[Tensor, " rows"]]:
        """The counts, gaps filled with 0."""
        counts = self.spec.read(values)
        labelled = ~np.isnan(counts)
        target = np.where(labelled, counts, 0.0).astype(np.float32)
        return torch.from_numpy(target), torch.from_numpy(labelled)

    def loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """Negative log-likelihood; always at least 0."""
        log_rate = full_precision(output).squeeze(-1)
        # In float64, because for large counts terms of the size y log y cancel.
        exact, count = log_rate.double(), target.double()
        return (exact.exp() - count * exact + torch.lgamma(count + 1)).to(log_rate.dtype)

    def distillation_loss(
        self,
        output: Float[Tensor, "*rows outputs"],
        teacher: Float[Tensor, "*rows outputs"],
        temperature: float,
    ) -> Float[Tensor, "*rows"]:
        """Half the Poisson deviance of the rate from the teacher's."""
        log_rate = full_precision(output).squeeze(-1)
        # In float64, as the loss: near the teacher the terms cancel.
        exact, wanted = log_rate.double(), teacher.detach().double().squeeze(-1)
        rate = wanted.exp()
        return (exact.exp() - rate + rate * (wanted - exact)).to(log_rate.dtype)

    def predict(self, output: Float[Tensor, "rows outputs"]) -> Mapping[str, NDArray[Any]]:
        """The expected count."""
        return {"": output.detach().squeeze(-1).double().exp().cpu().numpy()}

    def average(
        self, outputs: Float[Tensor, "members rows outputs"]
    ) -> Float[Tensor, "rows outputs"]:
        """Logarithm of the mean expected count."""
        return torch.logsumexp(full_precision(outputs), 0) - math.log(len(outputs))

    def metrics(self) -> Mapping[str, Metric]:
        """Poisson deviance, RMSE, MAE."""
        return count_metrics()

    def baseline(self) -> Float[Tensor, " outputs"]:
        """Logarithm of the mean count."""
        return torch.tensor([float(np.log(max(self.mean, SMALLEST_RATE)))])

    def state(self) -> dict[str, Any]:
        """The mean count."""
        return {"mean": self.mean}

    @classmethod
    def from_state(cls, spec: Any, state: dict[str, Any]) -> "CountTask":
        """The inverse of `state`."""
        return cls(spec, state["mean"])

    def describe(self) -> str:
        """Likelihood and mean in words."""
        return f"count, Poisson likelihood (mean {self.mean:.4g})"

    def fusion_key(self) -> Hashable:
        """All count tasks fuse."""
        return (type(self),)
