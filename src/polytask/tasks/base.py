"""The contract of a task: a frozen specification, and what `fit` makes of it on training rows."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from polytask._checks import at_least, require
from polytask.errors import Unsupported
from polytask.metrics.base import Metric


class TaskLosses(NamedTuple):
    """Sums and counts travel, means never.

    Args:
        sums: Sum of the weighted losses over labelled rows, one per task.
        counts: Sum of the row weights over labelled rows, one per task.
    """

    sums: Float[Tensor, " tasks"]
    counts: Float[Tensor, " tasks"]


@dataclass(frozen=True)
class TaskSpec(ABC):
    """What the user says about one task; `fit` returns a new object and leaves this one alone.

    Args:
        name: Name of the task; the name of its head, its metrics and its predicted column.
        columns: Columns that hold the target; empty means the one column called `name`.
        weight: Relative weight of the task in weighted objectives, at least 0.
    """

    name: str
    columns: tuple[str, ...] = ()
    weight: float = 1.0

    kind: ClassVar[str]
    """Short name of the kind, as typed after the colon of ``--target name:kind``."""

    def __post_init__(self) -> None:
        require(bool(self.name), "name", "be a non-empty text", self.name)
        at_least(f"weight of target {self.name!r}", self.weight, 0)
        object.__setattr__(self, "columns", tuple(self.columns))

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns that hold the target, in the order that `fit` and `encode` expect."""
        return self.columns or (self.name,)

    @abstractmethod
    def fit(self, values: NDArray[Any], weights: NDArray[Any] | None = None) -> "Task":
        """Learns the target's encoding from training rows only.

        Args:
            values: ``[rows]`` for one column, ``[rows, columns]`` for several; raw values as they
                come from the table, missing ones as None or NaN.
            weights: Row weights ``[rows]``, or None.

        Raises:
            DataError: If the values contradict the kind, or no label or only one class is left.
        """


class Task(ABC):
    """A specification with its fitted state; third parties subclass both."""

    spec: TaskSpec
    outputs: int
    """Width of the head's raw output."""

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.spec.name

    @abstractmethod
    def encode(self, values: NDArray[Any]) -> tuple[Tensor, Bool[Tensor, " rows"]]:
        """Raw values → (target with gaps filled by a harmless value, mask of labelled rows)."""

    @abstractmethod
    def loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """Raw output and encoded target → unreduced loss, finite on filled gaps.

        Leading axes are free: K equal tasks run as one ``[rows, tasks, outputs]`` call.
        """

    def training_loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """What an update differentiates, unreduced; validation and reports never see it.

        Default: the loss. A kind whose training has more than the loss in it, such as the
        confidence penalty of classes, adds it here. Leading axes are free, as in `loss`.
        """
        return self.loss(output, target)

    def distillation_loss(
        self,
        output: Float[Tensor, "*rows outputs"],
        teacher: Float[Tensor, "*rows outputs"],
        temperature: float,
    ) -> Float[Tensor, "*rows"]:
        """How far a raw output is from a teacher's, unreduced; 0 where they are equal.

        Leading axes are free, as in `loss`; no gradient reaches the teacher.

        Args:
            output: The student's.
            teacher: The teacher's.
            temperature: Divides the logits of classes; the loss is multiplied by its square.

        Raises:
            Unsupported: For a kind of task that does not say how to follow a teacher.
        """
        raise Unsupported(
            f"Task {self.name!r} of the kind {self.spec.kind!r} cannot follow a teacher: its class "
            "has no `distillation_loss`."
        )

    @abstractmethod
    def predict(self, output: Float[Tensor, "rows outputs"]) -> Mapping[str, NDArray[Any]]:
        """Raw output → column suffix → values in the user's units.

        ``""`` is the prediction itself; a multilabel group has one suffix per column instead.
        """

    def average(
        self, outputs: Float[Tensor, "members rows outputs"]
    ) -> Float[Tensor, "rows outputs"]:
        """Raw outputs of several models → the raw output whose prediction is their average.

        Default: the mean, which is right where predictions are linear in the raw output.
        """
        return outputs.mean(0)

    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Metrics by name; the first one is the task's primary metric."""

    @abstractmethod
    def baseline(self) -> Float[Tensor, " outputs"]:
        """The raw output that predicts the training distribution whatever the input is."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Fitted state as JSON values."""

    @classmethod
    @abstractmethod
    def from_state(cls, spec: Any, state: dict[str, Any]) -> "Task":
        """The inverse of `state`."""

    def describe(self) -> str:
        """The task in words, for reports: kind, loss, encoding."""
        return self.spec.kind

    def fusion_key(self) -> Hashable:
        """Tasks with equal keys share one stacked head and one loss call; default: never."""
        return (type(self).__qualname__, self.spec.name)


def full_precision(output: Tensor) -> Tensor:
    """At least float32: the loss of a half-precision output is computed in single precision."""
    return output.to(torch.promote_types(output.dtype, torch.float32))


def masked_sum(
    loss: Float[Tensor, "rows *t"],
    mask: Bool[Tensor, "rows *t"] | None,
    row_weights: Tensor | None,
) -> Float[Tensor, " *t"]:
    """Sum of an unreduced loss over the labelled rows.

    Masking a label equals deleting its term: the loss of a masked cell is replaced by an exact
    zero (`torch.where`, so that a filled gap contributes neither value nor gradient).

    Args:
        loss: Unreduced loss, rows first.
        mask: True where a label exists; same shape. None if no label is missing.
        row_weights: ``[rows]`` or None for ones.

    Returns:
        Sums of shape ``[*t]``.
    """
    kept = loss if mask is None else torch.where(mask, loss, 0.0)
    if row_weights is not None:
        kept = kept * _per_row(row_weights, loss)
    return kept.sum(0)


def masked_sums(
    loss: Float[Tensor, "rows *t"],
    mask: Bool[Tensor, "rows *t"],
    row_weights: Tensor | None,
) -> TaskLosses:
    """Sums and counts of an unreduced loss over the labelled rows; see `masked_sum`.

    Args:
        loss: Unreduced loss, rows first.
        mask: True where a label exists; same shape.
        row_weights: ``[rows]`` or None for ones.

    Returns:
        Sums and counts of shape ``[*t]``.
    """
    weights = mask.to(loss.dtype)
    if row_weights is not None:
        weights = weights * _per_row(row_weights, loss)
    return TaskLosses(masked_sum(loss, mask, row_weights), weights.sum(0))


def _per_row(row_weights: Tensor, loss: Tensor) -> Tensor:
    return row_weights.to(loss.dtype).view((-1,) + (1,) * (loss.ndim - 1))
