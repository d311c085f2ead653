"""Multilabel classification: a group of yes-or-no columns that share one head; gaps inside rows."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from polytask._checks import at_least, one_of, probability, require
from polytask.errors import DataError
from polytask.metrics.base import Metric
from polytask.metrics.multilabel import multilabel_metrics

from .base import Task, TaskSpec, full_precision
from .classes import (
    Label,
    balanced_weights,
    best_probabilities,
    class_counts,
    encode_classes,
    find_classes,
    label_array,
    mean_logits,
    soft_binary,
)
from .confidence import two_class_confidence
from .values import weights_of_labels

Classes = tuple[tuple[Label, Label], ...]


@final
@dataclass(frozen=True)
class Multilabel(TaskSpec):
    r"""A group of columns with two classes each, any number of which can be true in a row.

    The loss of a row is the mean of the (smoothed, class-weighted) binary cross-entropies of those
    of its labels that are observed, so a row counts once however many of its labels are missing.

    Args:
        name: Name of the group.
        columns: Its columns, one label each.
        weight: Relative weight of the task, at least 0.
        class_weight: ``"balanced"``: both classes of every label have the same total weight.
        label_smoothing: e, at least 0 and below 1, as for `Binary`.
        confidence_penalty: β, at least 0, as for `Binary`, on every observed label.

    Raises:
        InvalidArgument: If `columns` is empty or repeats a column, or an option is out of range.

    Example:
        >>> spec = Multilabel("tags", columns=("red", "round"))
        >>> cells = np.array([[1, 0], [0, np.nan], [1, 1]])
        >>> target, mask = spec.fit(cells).encode(cells)
        >>> target.tolist(), mask.tolist()
        ([[1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], [True, True, True])
    """

    kind: ClassVar[str] = "multilabel"

    class_weight: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0
    confidence_penalty: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < len(set(self.columns)) == len(self.columns),
            f"columns of target {self.name!r}",
            "name the label columns of the multilabel group, each once",
            self.columns,
        )
        one_of(f"class_weight of target {self.name!r}", self.class_weight, ("none", "balanced"))
        probability(f"label_smoothing of target {self.name!r}", self.label_smoothing)
        at_least(f"confidence_penalty of target {self.name!r}", self.confidence_penalty, 0)

    def fit(self, values: NDArray[Any], weights: NDArray[Any] | None = None) -> "MultilabelTask":
        """Finds the two classes of every label and their shares."""
        classes = tuple(
            self._classes(column, values[:, position])
            for position, column in enumerate(self.columns)
        )
        codes = self.codes(values, classes)
        observed = codes >= 0
        kept = weights_of_labels(self.name, np.asarray(observed.any(-1)), weights)
        # A row counts once: its weight is shared by its observed labels, as in the loss.
        cells = observed * (kept / observed.sum(-1).clip(1))[:, None]
        counts = [class_counts(*column, 2) for column in zip(codes.T, cells.T, strict=True)]
        return MultilabelTask(self, classes, tuple(counts))

    def codes(self, values: NDArray[Any], classes: Classes) -> NDArray[np.int64]:
        """Cells ``[rows, columns]`` → 1, 0, and -1 where missing."""
        columns = [
            encode_classes(f"{column} of {self.name}", values[:, position], classes[position])
            for position, column in enumerate(self.columns)
        ]
        return np.stack(columns, axis=1)

    def _classes(self, column: str, values: NDArray[Any]) -> tuple[Label, Label]:
        classes = find_classes(f"{column} of {self.name}", values, None)
        if len(classes) > 2:
            raise DataError(
                f"Target {self.name!r} cannot be a multilabel target: its column {column!r} has "
                f"{len(classes)} classes, not two. Make that column a target of its own."
            )
        return classes[0], classes[1]


@final
@dataclass(frozen=True)
class MultilabelTask(Task):
    """A fitted `Multilabel`.

    Args:
        spec: What the user said.
        classes: The negative and the positive class of every label.
        counts: Sum of the cell weights of both classes of every label; the weight of a cell is the
            row weight divided by the number of observed labels of the row.
    """

    spec: Multilabel
    classes: Classes
    counts: tuple[tuple[float, ...], ...]
    outputs: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", len(self.classes))

    @cached_property
    def class_weights(self) -> tuple[tuple[float, ...], ...] | None:
        """Factors of both classes of every label on the loss, None without."""
        if self.spec.class_weight == "none":
            return None
        return tuple(balanced_weights(counts) for counts in self.counts)

    def encode(self, values: NDArray[Any]) -> tuple[Tensor, Bool[Tensor, " rows"]]:
        """``[rows, labels]``: 1, 0, and -1 for gaps; a row is labelled if any label is."""
        codes = torch.from_numpy(self.spec.codes(values, self.classes))
        return codes.float(), (codes >= 0).any(-1)

    def loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """Mean cross-entropy over the observed labels of the row, 0 without any."""
        logits, e = full_precision(output), self.spec.label_smoothing
        truth = target.to(logits.dtype).clamp(min=0)
        loss = functional.binary_cross_entropy_with_logits(
            logits, truth * (1 - e) + e / 2, reduction="none"
        )
        return self._mean(loss, target)

    def training_loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """The loss, and the mean confidence penalty β (log 2 − H(p)) of the observed labels."""
        loss, beta = self.loss(output, target), self.spec.confidence_penalty
        if not beta:
            return loss
        return loss + self._mean(beta * two_class_confidence(output), target)

    def _mean(self, loss: Tensor, target: Tensor) -> Tensor:
        """Mean over the observed labels of a row, times the weights of their classes."""
        observed = target >= 0
        if self.class_weights is not None:
            negative, positive = loss.new_tensor(self.class_weights).unbind(-1)
            truth = target.to(loss.dtype).clamp(min=0)
            loss = loss * (negative + (positive - negative) * truth)
        return torch.where(observed, loss, 0.0).sum(-1) / observed.sum(-1).clamp(min=1)

    def distillation_loss(
        self,
        output: Float[Tensor, "*rows outputs"],
        teacher: Float[Tensor, "*rows outputs"],
        temperature: float,
    ) -> Float[Tensor, "*rows"]:
        """τ² times the divergence of the softened probabilities, mean over all labels of the group.

        The teacher knows every label, also those that are missing in a row.
        """
        return soft_binary(output, teacher, temperature).mean(-1)

    def predict(self, output: Float[Tensor, "rows outputs"]) -> Mapping[str, NDArray[Any]]:
        """Per column the more probable class, and the probability of its positive class."""
        chances = torch.sigmoid(output.detach().double()).cpu().numpy()
        columns: dict[str, NDArray[Any]] = {}
        for position, column in enumerate(self.spec.columns):
            chance = chances[:, position]
            columns[column] = label_array(self.classes[position])[(chance > 0.5).astype(np.int64)]
            columns[f"probability_{column}"] = chance
        return columns

    def average(
        self, outputs: Float[Tensor, "members rows outputs"]
    ) -> Float[Tensor, "rows outputs"]:
        """Logit of the mean probability."""
        return mean_logits(outputs)

    def metrics(self) -> Mapping[str, Metric]:
        """Mean AUC, Hamming loss, log loss, micro F1."""
        return multilabel_metrics()

    def baseline(self) -> Float[Tensor, " outputs"]:
        """Logit of every label's share (after class weights and smoothing)."""
        weights = self.class_weights or (None,) * self.outputs
        shares = np.stack(
            [
                best_probabilities(counts, weight, self.spec.label_smoothing)
                for counts, weight in zip(self.counts, weights, strict=True)
            ]
        )
        return torch.from_numpy(np.log(shares[:, 1] / shares[:, 0])).float()

    def state(self) -> dict[str, Any]:
        """Classes and their counts."""
        return {
            "classes": [list(pair) for pair in self.classes],
            "counts": [list(pair) for pair in self.counts],
        }

    @classmethod
    def from_state(cls, spec: Any, state: dict[str, Any]) -> "MultilabelTask":
        """The inverse of `state`."""
        classes = tuple((negative, positive) for negative, positive in state["classes"])
        return cls(spec, classes, tuple(tuple(pair) for pair in state["counts"]))

    def describe(self) -> str:
        """Number of labels, and what changes the loss."""
        words = [f"multilabel, {self.outputs} labels"]
        if self.spec.class_weight == "balanced":
            words.append("balanced class weights")
        if self.spec.label_smoothing:
            words.append(f"label smoothing {self.spec.label_smoothing:g}")
        if self.spec.confidence_penalty:
            words.append(f"confidence penalty {self.spec.confidence_penalty:g}")
        return ", ".join(words)

    def fusion_key(self) -> Hashable:
        """Equal numbers of labels, class weights, smoothing and penalty fuse."""
        own = (self.class_weights, self.spec.label_smoothing, self.spec.confidence_penalty)
        return (type(self), self.outputs, *own)
