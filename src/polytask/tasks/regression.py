"""Regression: a number, learned in standard deviations, predicted in the user's units."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from polytask._checks import one_of, positive, require
from polytask.errors import DataError
from polytask.metrics.base import Metric
from polytask.metrics.regression import regression_metrics

from .base import Task, TaskSpec, full_precision
from .values import Numbers, read_numbers, weights_of_labels


@final
@dataclass(frozen=True)
class Regression(TaskSpec):
    r"""A numeric target.

    The target is standardised with the (row-weighted) mean and deviation of the training rows, so
    that tasks of different units are comparable; with residual r in deviations the loss is

    - ``"squared"``: :math:`r^2`; its best constant is the mean.
    - ``"absolute"``: :math:`|r|`; the median; insensitive to outliers.
    - ``"huber"``: :math:`r^2/2` if :math:`|r| \le \delta`, else :math:`\delta(|r| - \delta/2)`.

    Args:
        name: Name of the task.
        columns: Its column, if that has another name.
        weight: Relative weight of the task, at least 0.
        loss: See above.
        delta: Huber threshold in deviations of the target.
        center: Use this instead of the training mean.
        scale: Use this instead of the training deviation; tasks of a long table share one.

    Raises:
        InvalidArgument: If `loss` is unknown, or `delta` or `scale` is not positive.

    Example:
        >>> task = Regression("age").fit(np.array([30.0, 50.0, np.nan]))
        >>> task.describe()
        'regression, squared loss, standardised (mean 40, deviation 10)'
        >>> task.encode(np.array([60.0, np.nan]))
        (tensor([2., 0.]), tensor([ True, False]))

    Reference:
        P. J. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics
        35, 1964, https://doi.org/10.1214/aoms/1177703732 (the Huber loss).
    """

    kind: ClassVar[str] = "regression"

    loss: Literal["squared", "absolute", "huber"] = "squared"
    delta: float = 1.0
    center: float | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.columns) < 2, "columns", "name one column for regression", self.columns)
        one_of(f"loss of target {self.name!r}", self.loss, ("squared", "absolute", "huber"))
        positive(f"delta of target {self.name!r}", self.delta)
        if self.scale is not None:
            positive(f"scale of target {self.name!r}", self.scale)
        if self.center is not None:
            require(np.isfinite(self.center), "center", "be finite", self.center)

    def fit(self, values: NDArray[Any], weights: NDArray[Any] | None = None) -> "RegressionTask":
        """Mean, deviation and best constant of the training labels."""
        numbers = read_numbers(self.name, self.kind, values)
        labelled = ~np.isnan(numbers)
        kept = weights_of_labels(self.name, labelled, weights)
        numbers, kept = numbers[kept > 0], kept[kept > 0]
        with np.errstate(over="ignore", invalid="ignore"):  # the next check says it better
            center = _mean(numbers, kept) if self.center is None else self.center
            scale = _deviation(numbers, kept) if self.scale is None else self.scale
        if not np.isfinite([center, scale]).all():
            raise DataError(
                f"Target {self.name!r} has values up to {np.abs(numbers).max():g}, too large to "
                "compute with; divide the column by a constant."
            )
        constant = self._best_constant((numbers - center) / scale, kept)
        return RegressionTask(self, float(center), float(scale), constant)

    def _best_constant(self, values: Numbers, weights: Numbers) -> float:
        if self.loss == "squared":
            return _mean(values, weights)
        if self.loss == "absolute":
            return _median(values, weights)
        return _huber_location(values, weights, self.delta)


@final
@dataclass(frozen=True)
class RegressionTask(Task):
    """A fitted `Regression`.

    Args:
        spec: What the user said.
        center: Mean of the target.
        scale: Deviation of the target; 1 for a constant target.
        constant: Best constant prediction, in deviations from the mean.
    """

    spec: Regression
    center: float
    scale: float
    constant: float
    outputs: int = field(default=1, init=False)

    def encode(self, values: NDArray[Any]) -> tuple[Tensor, Bool[Tensor, " rows"]]:
        """Values in deviations from the mean, gaps filled with 0."""
        numbers = (read_numbers(self.name, self.spec.kind, values) - self.center) / self.scale
        labelled = ~np.isnan(numbers)
        target = np.where(labelled, numbers, 0.0).astype(np.float32)
        return torch.from_numpy(target), torch.from_numpy(labelled)

    def loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """Squared, absolute or Huber loss of the residual in deviations."""
        prediction = full_precision(output).squeeze(-1)
        target = target.to(prediction.dtype)
        if self.spec.loss == "squared":
            return functional.mse_loss(prediction, target, reduction="none")
        if self.spec.loss == "absolute":
            return functional.l1_loss(prediction, target, reduction="none")
        return functional.huber_loss(prediction, target, reduction="none", delta=self.spec.delta)

    def distillation_loss(
        self,
        output: Float[Tensor, "*rows outputs"],
        teacher: Float[Tensor, "*rows outputs"],
        temperature: float,
    ) -> Float[Tensor, "*rows"]:
        """The task's own loss, with the teacher's prediction for the label."""
        target = full_precision(teacher.detach()).squeeze(-1)
        return self.loss(output, target.broadcast_to(output.shape[:-1]))

    def predict(self, output: Float[Tensor, "rows outputs"]) -> Mapping[str, NDArray[Any]]:
        """The value, in the target's unit."""
        return {"": self._in_units(output.detach().squeeze(-1)).cpu().numpy()}

    def metrics(self) -> Mapping[str, Metric]:
        """RMSE, MAE (in the target's unit) and R²."""
        return regression_metrics(self._in_units)

    def baseline(self) -> Float[Tensor, " outputs"]:
        """Mean, median or Huber location of the training labels."""
        return torch.tensor([self.constant])

    def state(self) -> dict[str, Any]:
        """Mean, deviation, best constant."""
        return {"center": self.center, "scale": self.scale, "constant": self.constant}

    @classmethod
    def from_state(cls, spec: Any, state: dict[str, Any]) -> "RegressionTask":
        """The inverse of `state`."""
        return cls(spec, state["center"], state["scale"], state["constant"])

    def describe(self) -> str:
        """Loss and scale in words."""
        delta = f" (delta {self.spec.delta:.4g})" if self.spec.loss == "huber" else ""
        scale = f"standardised (mean {self.center:.4g}, deviation {self.scale:.4g})"
        return f"regression, {self.spec.loss} loss{delta}, {scale}"

    def fusion_key(self) -> Hashable:
        """Equal losses fuse, whatever the units of the targets are."""
        delta = self.spec.delta if self.spec.loss == "huber" else None
        return (type(self), self.spec.loss, delta)

    def _in_units(self, standardised: Tensor) -> Tensor:
        return standardised.double() * self.scale + self.center


def _mean(values: Numbers, weights: Numbers) -> float:
    return float(np.average(values, weights=weights))


def _deviation(values: Numbers, weights: Numbers) -> float:
    residuals = values - _mean(values, weights)
    if values.min() == values.max():
        return 1.0
    largest = np.abs(residuals).max()  # squares of the residuals themselves could overflow
    return float(largest * np.sqrt(np.average((residuals / largest) ** 2, weights=weights)))


def _median(values: Numbers, weights: Numbers) -> float:
    """Weighted median; the middle of the interval where several values minimise."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    lower = int(np.searchsorted(below, below[-1] / 2, "left"))
    upper = min(int(np.searchsorted(below, below[-1] / 2, "right")), len(order) - 1)
    return float(values[order[lower]] + values[order[upper]]) / 2


def _huber_location(values: Numbers, weights: Numbers, delta: float) -> float:
    """Root of the increasing function Σ w·clip(c − y, −δ, δ), by bisection to the last bit."""
    low, high = float(values.min()), float(values.max())
    while low < (middle := low + (high - low) / 2) < high:
        slope = float(weights @ np.clip(middle - values, -delta, delta))
        low, high = (low, middle) if slope > 0 else (middle, high)
    return low
