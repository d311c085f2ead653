"""Binary classification: one logit, the probability of the positive class."""

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

from polytask._checks import at_least, one_of, probability, require, unknown
from polytask.errors import DataError
from polytask.metrics.base import Metric
from polytask.metrics.binary import binary_metrics

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


@final
@dataclass(frozen=True)
class Binary(TaskSpec):
    r"""A target with two classes.

    With logit z, label y in {0, 1}, smoothing e and class weights w the loss of a row is
    :math:`w_y\,[\log(1 + \exp z) - \tilde y z]`, :math:`\tilde y = (1 - e)\,y + e/2`: the binary
    form of label smoothing, (1 − e)·CE + e·mean over both classes of −log p.

    Args:
        name: Name of the task.
        columns: Its column, if that has another name.
        weight: Relative weight of the task, at least 0.
        class_weight: ``"balanced"``: both classes have the same total weight, as in scikit-learn.
            Probabilities then refer to balanced classes.
        label_smoothing: e, at least 0 and below 1; raises the log loss, helps accuracy.
        confidence_penalty: β, at least 0: training, but no validation, adds w_y β (log 2 − H(p))
            to the loss of a row, with H the entropy of its probabilities; 0.1 to 1 is usual.
        positive: The class whose probability is reported, as text; default: the last in order.
        classes: Use these two classes instead of those found in the training rows.

    Raises:
        InvalidArgument: If an option is outside its range.

    Example:
        >>> task = Binary("churn").fit(np.array(["no", "yes", None, "no"], dtype=object))
        >>> task.describe()
        "binary, positive class 'yes' (share 0.333)"
        >>> task.predict(torch.tensor([[-9.0], [0.1]]))[""].tolist()
        ['no', 'yes']

    Reference:
        C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
        section 7, https://arxiv.org/abs/1512.00567 (label smoothing).
        G. Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output
        Distributions", 2017, https://arxiv.org/abs/1701.06548 (confidence penalty).
    """

    kind: ClassVar[str] = "binary"

    class_weight: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0
    confidence_penalty: float = 0.0
    positive: str | None = None
    classes: tuple[Label, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.columns) < 2, "columns", "name one column for binary", self.columns)
        one_of(f"class_weight of target {self.name!r}", self.class_weight, ("none", "balanced"))
        probability(f"label_smoothing of target {self.name!r}", self.label_smoothing)
        at_least(f"confidence_penalty of target {self.name!r}", self.confidence_penalty, 0)
        if self.classes is not None:
            require(len(self.classes) == 2, "classes", "be two", self.classes)
            object.__setattr__(self, "classes", tuple(self.classes))

    def fit(self, values: NDArray[Any], weights: NDArray[Any] | None = None) -> "BinaryTask":
        """Finds the two classes and their shares."""
        negative, positive = self._classes(values)
        codes = encode_classes(self.name, values, (negative, positive))
        kept = weights_of_labels(self.name, codes >= 0, weights)
        return BinaryTask(self, (negative, positive), class_counts(codes, kept, 2))

    def _classes(self, values: NDArray[Any]) -> tuple[Label, Label]:
        classes = find_classes(self.name, values, self.classes)
        if len(classes) > 2:
            shown = ", ".join(repr(label) for label in classes[:4])
            raise DataError(
                f"Target {self.name!r} cannot be a binary target: it has {len(classes)} classes "
                f"({shown}{', …' * (len(classes) > 4)}). Type '{self.name}:multiclass'."
            )
        texts = [str(label) for label in classes]
        if self.positive not in (None, *texts):
            raise unknown(f"positive of target {self.name!r}", str(self.positive), texts)
        first, last = classes
        return (last, first) if self.positive == texts[0] else (first, last)


@final
@dataclass(frozen=True)
class BinaryTask(Task):
    """A fitted `Binary`.

    Args:
        spec: What the user said.
        classes: The negative and the positive class.
        counts: Sum of the row weights of each class in the training rows.
    """

    spec: Binary
    classes: tuple[Label, Label]
    counts: tuple[float, ...]
    outputs: int = field(default=1, init=False)

    @cached_property
    def class_weights(self) -> tuple[float, ...] | None:
        """Factors of the two classes on the loss, None without."""
        return balanced_weights(self.counts) if self.spec.class_weight == "balanced" else None

    def encode(self, values: NDArray[Any]) -> tuple[Tensor, Bool[Tensor, " rows"]]:
        """1 for the positive class, 0 for the negative one and for gaps."""
        codes = torch.from_numpy(encode_classes(self.name, values, self.classes))
        return codes.clamp(min=0).float(), codes >= 0

    def loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """Cross-entropy of the logit, smoothed and weighted by class if asked."""
        logit, e = full_precision(output).squeeze(-1), self.spec.label_smoothing
        target = target.to(logit.dtype)
        loss = functional.binary_cross_entropy_with_logits(
            logit, target * (1 - e) + e / 2, reduction="none"
        )
        return self._weighted(loss, target)

    def training_loss(
        self, output: Float[Tensor, "*rows outputs"], target: Tensor
    ) -> Float[Tensor, "*rows"]:
        """The loss, and the confidence penalty w_y β (log 2 − H(p))."""
        loss, beta = self.loss(output, target), self.spec.confidence_penalty
        if not beta:
            return loss
        sure = two_class_confidence(output.squeeze(-1))
        return loss + self._weighted(beta * sure, target.to(sure.dtype))

    def _weighted(self, loss: Tensor, target: Tensor) -> Tensor:
        """Times the weight of the true class."""
        if self.class_weights is None:
            return loss
        negative, positive = self.class_weights
        return loss * (negative + (positive - negative) * target)

    def distillation_loss(
        self,
        output: Float[Tensor, "*rows outputs"],
        teacher: Float[Tensor, "*rows outputs"],
        temperature: float,
    ) -> Float[Tensor, "*rows"]:
        """τ² times the divergence of the softened probabilities from the teacher's."""
        return soft_binary(output, teacher, temperature).squeeze(-1)

    def predict(self, output: Float[Tensor, "rows outputs"]) -> Mapping[str, NDArray[Any]]:
        """The more probable class, and the probability of the positive one."""
        chance = torch.sigmoid(output.detach().squeeze(-1).double()).cpu().numpy()
        labels = label_array(self.classes)[(chance > 0.5).astype(np.int64)]
        return {"": labels, f"probability_{self.classes[1]}": chance}

    def average(
        self, outputs: Float[Tensor, "members rows outputs"]
    ) -> Float[Tensor, "rows outputs"]:
        """Logit of the mean probability."""
        return mean_logits(outputs)

    def metrics(self) -> Mapping[str, Metric]:
        """AUC, average precision, log loss, accuracy, Brier score."""
        return binary_metrics()

    def baseline(self) -> Float[Tensor, " outputs"]:
        """Logit of the positive class' share (after class weights and smoothing)."""
        smoothing = self.spec.label_smoothing
        negative, positive = best_probabilities(self.counts, self.class_weights, smoothing)
        return torch.tensor([float(np.log(positive / negative))])

    def state(self) -> dict[str, Any]:
        """Classes and their counts."""
        return {"classes": list(self.classes), "counts": list(self.counts)}

    @classmethod
    def from_state(cls, spec: Any, state: dict[str, Any]) -> "BinaryTask":
        """The inverse of `state`."""
        negative, positive = state["classes"]
        return cls(spec, (negative, positive), tuple(state["counts"]))

    def describe(self) -> str:
        """Positive class, its share, and what changes the loss."""
        share = self.counts[1] / sum(self.counts)
        words = [f"binary, positive class {self.classes[1]!r} (share {share:.3g})"]
        if self.spec.class_weight == "balanced":
            words.append("balanced class weights")
        if self.spec.label_smoothing:
            words.append(f"label smoothing {self.spec.label_smoothing:g}")
        if self.spec.confidence_penalty:
            words.append(f"confidence penalty {self.spec.confidence_penalty:g}")
        return ", ".join(words)

    def fusion_key(self) -> Hashable:
        """Equal class weights, smoothing and penalty fuse, whatever the classes are called."""
        spec = self.spec
        return (type(self), self.class_weights, spec.label_smoothing, spec.confidence_penalty)
