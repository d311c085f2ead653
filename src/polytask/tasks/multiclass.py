"""Multiclass classification: one logit per class, the softmax of them as probabilities."""

import math
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
from polytask.metrics.base import Metric
from polytask.metrics.multiclass import multiclass_metrics

from .base import Task, TaskSpec, full_precision
from .classes import (
    Label,
    balanced_weights,
    best_probabilities,
    class_counts,
    encode_classes,
    find_classes,
    label_array,
)
from .confidence import confidence
from .values import weights_of_labels


@final
@dataclass(frozen=True)
class Multiclass(TaskSpec):
    r"""A target with two or more exclusive classes.

    With class probabilities p = softmax(logits), true class y, smoothing e, C classes and class
    weights w the loss of a row is
    :math:`w_y\,[(1 - e)(-\log p_y) + e\,\tfrac1C\sum_k(-\log p_k)]`.

    Args:
        name: Name of the task.
        columns: Its column, if that has another name.
        weight: Relative weight of the task, at least 0.
        class_weight: ``"balanced"``: all classes have the same total weight, as in scikit-learn.
            Probabilities then refer to balanced classes.
        label_smoothing: e, at least 0 and below 1; raises the log loss, helps accuracy.
        confidence_penalty: β, at least 0: training, but no validation, adds w_y β (log C − H(p))
            to the loss of a row, with H the entropy of its probabilities; 0.1 to 1 is usual.
        classes: Use these classes, in this order, instead of those found in the training rows.

    Raises:
        InvalidArgument: If an option is outside its range.

    Example:
        >>> task = Multiclass("stage").fit(np.array([3, 1, 2, 1]))
        >>> sorted(task.predict(torch.tensor([[0.0, 5.0, 0.0]])))
        ['', 'probability_1', 'probability_2', 'probability_3']

    Note:
        ``torch.nn.CrossEntropyLoss`` with class weights *and* smoothing also weighs the smoothed
        part class by class; here the weight of the true class multiplies the whole row.
        The paper's confidence penalty is −βH(p). With β log C added to it the gradient is the
        same and no loss becomes negative, as methods that look at losses need it.

    Reference:
        C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
        section 7, https://arxiv.org/abs/1512.00567 (label smoothing).
        G. Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output
        Distributions", 2017, https://arxiv.org/abs/1701.06548 (confidence penalty).
    """

    kind: ClassVar[str] = "multiclass"

    class_weight: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0
    confidence_penalty: float = 0.0
    classes: tuple[Label, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.columns) < 2, "columns", "name one column for multiclass", self.columns)
        one_of(f"class_weight of target {self.name!r}", self.class_weight, ("none", "balanced"))
        probability(f"label_smoothing of target {self.name!r}", self.label_smoothing)
        at_least(f"confidence_penalty of target {self.name!r}", self.confidence_penalty, 0)
        if self.classes is not None:
            require(len(self.classes) > 1, "classes", "be two or more", self.classes)
            object.__setattr__(self, "classes", tuple(self.classes))

    def fit(self, values: NDArray[Any], weights: NDArray[Any] | None = None) -> "MulticlassTask":
        """Finds the classes and their shares."""
        classes = find_classes(self.name, values, self.classes)
        codes = encode_classes(self.name, values, classes)
        kept = weights_of_labels(self.name, codes >= 0, weights)
        return MulticlassTask(self, classes, class_counts(codes, kept, len(classes)))


@final
@dataclass(frozen=True)
class MulticlassTask(Task):
    """A fitted `Multiclass`.

    Args:
        spec: What the user said.
        classes: The classes, in the order of the logits.
        counts: Sum of the row weights of each class in the training rows.
    """

    spec: Multiclass
    classes: tuple[Label, ...]
    counts: tuple[float, ...]

    outputs: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", len(self.classes))

    @cached_property
    def class_weights(self) -> tuple[float, ...] | None:
        """Factor of each class on the loss, None without."""
        return balanced_weights(self.counts) if self.spec.class_weight == "balanced" else None

    def encode(self, values: NDArray[Any]) -> tuple[Tensor, Bool[Tensor, " rows"]]:
        """Position of the class; 0 for gaps."""
        codes = torch.from_numpy(encode_classes(self.name, values, self.classes))
        return codes.clamp(min=0), codes >= 0

    def loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """Cross-entropy of the softmax, smoothed and weighted by class if asked."""
        logits = full_precision(output)
        loss = functional.cross_entropy(
            logits.reshape(-1, self.outputs),
            target.reshape(-1),
            reduction="none",
            label_smoothing=self.spec.label_smoothing,
        ).view(target.shape)
        return self._weighted(loss, target)

    def training_loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """The loss, and the confidence penalty w_y β (log C − H(p))."""
        loss, beta = self.loss(output, target), self.spec.confidence_penalty
        if not beta:
            return loss
        return loss + self._weighted(beta * confidence(output), target)

    def _weighted(self, loss: Tensor, target: Tensor) -> Tensor:
        """Times the weight of the true class."""
        if self.class_weights is None:
            return loss
        return loss * loss.new_tensor(self.class_weights)[target]

    def distillation_loss(
        self,
        output: Float[Tensor, "*rows outputs"],
        teacher: Float[Tensor, "*rows outputs"],
        temperature: float,
    ) -> Float[Tensor, "*rows"]:
        """τ² times the divergence of the softened probabilities from the teacher's."""
        student = torch.log_softmax(full_precision(output) / temperature, -1)
        wanted = torch.log_softmax(full_precision(teacher.detach()) / temperature, -1)
        return temperature**2 * (wanted.exp() * (wanted - student)).sum(-1)

    def predict(self, output: Float[Tensor, "rows outputs"]) -> Mapping[str, NDArray[Any]]:
        """The most probable class, and the probability of every class."""
        chances = torch.softmax(output.detach().double(), -1).cpu().numpy()
        columns = {
            f"probability_{label}": chances[:, position]
            for position, label in enumerate(self.classes)
        }
        return {"": label_array(self.classes)[chances.argmax(-1)], **columns}

    def average(
        self, outputs: Float[Tensor, "members rows outputs"]
    ) -> Float[Tensor, "rows outputs"]:
        """Logarithms of the mean probabilities."""
        return torch.logsumexp(torch.log_softmax(full_precision(outputs), -1), 0) - math.log(
            len(outputs)
        )

    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy, balanced accuracy, log loss, macro AUC."""
        return multiclass_metrics()

    def baseline(self) -> Float[Tensor, " outputs"]:
        """Logarithms of the class shares (after class weights and smoothing)."""
        smoothing = self.spec.label_smoothing
        shares = best_probabilities(self.counts, self.class_weights, smoothing)
        return torch.from_numpy(np.log(shares)).float()

    def state(self) -> dict[str, Any]:
        """Classes and their counts."""
        return {"classes": list(self.classes), "counts": list(self.counts)}

    @classmethod
    def from_state(cls, spec: Any, state: dict[str, Any]) -> "MulticlassTask":
        """The inverse of `state`."""
        return cls(spec, tuple(state["classes"]), tuple(state["counts"]))

    def describe(self) -> str:
        """Number of classes, the largest one, and what changes the loss."""
        largest = max(range(len(self.classes)), key=self.counts.__getitem__)
        share = self.counts[largest] / sum(self.counts)
        words = [
            f"multiclass, {len(self.classes)} classes",
            f"most frequent {self.classes[largest]!r} (share {share:.3g})",
        ]
        if self.spec.class_weight == "balanced":
            words.append("balanced class weights")
        if self.spec.label_smoothing:
            words.append(f"label smoothing {self.spec.label_smoothing:g}")
        if self.spec.confidence_penalty:
            words.append(f"confidence penalty {self.spec.confidence_penalty:g}")
        return ", ".join(words)

    def fusion_key(self) -> Hashable:
        """Equal numbers of classes, class weights, smoothing and penalty fuse."""
        own = (self.class_weights, self.spec.label_smoothing, self.spec.confidence_penalty)
        return (type(self), self.outputs, *own)
