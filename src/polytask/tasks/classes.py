"""What all classification targets share: class lists, class weights, the best constant."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from polytask._checks import require
from polytask.errors import DataError, PolytaskWarning

from .base import full_precision
from .values import Cells, Numbers, require_labels

Label = str | int | float | bool
"""A class in the user's own type, as far as JSON can hold it."""

PROBABILITY_OF_AN_ABSENT_CLASS = 1e-6
"""A listed class without a label in the training rows: its logit has to be finite."""


def read_labels(target: str, values: Cells) -> tuple[NDArray[np.int64], list[Label]]:
    """Cells → (position of each cell's label in the list, -1 where missing; distinct labels).

    Integral floats count as integers: a column of 0 and 1 with gaps arrives as floats.
    """
    import pandas

    require(values.ndim == 1, f"values of target {target!r}", "have one axis", values.shape)
    codes, distinct = pandas.factorize(np.asarray(values))
    labels = [_plain(value) for value in distinct.tolist()]
    positions = {label: position for position, label in enumerate(dict.fromkeys(labels))}
    merge = np.array([*(positions[label] for label in labels), -1], dtype=np.int64)
    return merge[codes], list(positions)


def find_classes(target: str, values: Cells, given: Sequence[Label] | None) -> tuple[Label, ...]:
    """The class list: `given` as it stands, else the labels of the training rows, sorted.

    Raises:
        DataError: If no label or only one class occurs, if a label is not in the given list, or
            if two classes would be written the same way.
    """
    codes, labels = read_labels(target, values)
    require_labels(target, codes >= 0)
    if given is not None:
        classes = tuple(given)
        strangers = [label for label in labels if label not in classes]
        if strangers:
            raise DataError(
                f"Target {target!r} has the class {strangers[0]!r}, which is not among its given "
                f"classes {_listed(classes)}."
            )
    else:
        # Numbers before texts, because Python does not compare them.
        classes = tuple(sorted(labels, key=lambda label: (isinstance(label, str), label)))
        if len(classes) == 1:
            raise DataError(
                f"Target {target!r} has only one class in the training rows, {classes[0]!r}; "
                "there is nothing to learn. Leave it out, or add rows of another class."
            )
    if len({str(label) for label in classes}) < len(classes):
        raise DataError(
            f"Target {target!r} has classes that are written the same way: {_listed(classes)}. "
            "Give the column one type, text or number."
        )
    return classes


def encode_classes(target: str, values: Cells, classes: Sequence[Label]) -> NDArray[np.int64]:
    """Cells → position in `classes`, -1 where missing or unknown; warns about unknown classes.

    A label that is none of the classes is one if it is written like one: 3 and "3" are the same
    label, True and "true" too. A stray word in a column of another table does not turn its numbers
    into strangers.
    """
    codes, labels = read_labels(target, values)
    exact = {label: position for position, label in enumerate(classes)}
    written = {_written(label): position for position, label in enumerate(classes)}
    found = [exact.get(label, written.get(_written(label), -1)) for label in labels]
    lookup = np.array([*found, -1], dtype=np.int64)
    for code, label in enumerate(labels):
        if found[code] < 0:
            count = int((codes == code).sum())
            warnings.warn(
                f"Target {target!r}: class {label!r} does not occur in the training rows; "
                f"{count} label{'s' * (count > 1)} with it "
                f"{'are' if count > 1 else 'is'} treated as missing.",
                PolytaskWarning,
                stacklevel=3,
            )
    return lookup[codes]


def class_counts(codes: NDArray[np.int64], weights: Numbers, num_classes: int) -> tuple[float, ...]:
    """Sum of the row weights of each class; weights of missing labels are zero."""
    return tuple(np.bincount(codes.clip(0), weights, num_classes).tolist())


def label_array(classes: Sequence[Label]) -> NDArray[Any]:
    """Classes as an array to index with positions: int64, float64, bool, or text as objects."""
    same = len({type(label) for label in classes}) == 1
    numeric = same and not isinstance(classes[0], str)
    return np.array(list(classes), dtype=None if numeric else object)


def balanced_weights(counts: Sequence[float]) -> tuple[float, ...]:
    r"""Class weights that give every class the same total weight.

    :math:`w_c = n / (C\,n_c)` with :math:`n_c` the (weighted) labels of class c, n their sum and C
    the number of classes with labels, as ``class_weight="balanced"`` of scikit-learn. Their mean
    over the training labels, :math:`\sum_c n_c w_c / n`, is 1, so the scale of the loss stays.
    A class without labels weighs 1.

    Example:
        >>> balanced_weights([30.0, 10.0])
        (0.6666666666666666, 2.0)
    """
    total, present = sum(counts), sum(count > 0 for count in counts)
    return tuple(total / (present * count) if count > 0 else 1.0 for count in counts)


def soft_binary(
    logits: Float[Tensor, "*shape"], teacher: Float[Tensor, "*shape"], temperature: float
) -> Float[Tensor, "*shape"]:
    r"""How far two-class probabilities are from a teacher's: :math:`\tau^2 KL(q \| p)`.

    With p and q the probabilities of the logits and the teacher's logits divided by τ. The factor
    keeps the size of the gradients, which softening divides by τ².

    Args:
        logits: The student's.
        teacher: The teacher's; broadcast.
        temperature: τ.

    Example:
        >>> soft_binary(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0]), 1.0)
        tensor([0.0000, 0.4338])

    Reference:
        Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015, section 2.
        https://arxiv.org/abs/1503.02531
    """
    own = full_precision(logits) / temperature
    wanted = (full_precision(teacher.detach()) / temperature).broadcast_to(own.shape)
    chance = torch.sigmoid(wanted)
    cross = functional.binary_cross_entropy_with_logits(own, chance, reduction="none")
    entropy = functional.binary_cross_entropy_with_logits(wanted, chance, reduction="none")
    return temperature**2 * (cross - entropy)


def mean_logits(logits: Float[Tensor, "members *shape"]) -> Float[Tensor, "*shape"]:
    r"""Logit of the mean of probabilities, from their logits, without leaving the log domain.

    :math:`\log\sum_m \sigma(z_m) - \log\sum_m \sigma(-z_m)`.

    Example:
        >>> mean_logits(torch.tensor([[2.0], [-2.0]]))
        tensor([0.])
    """
    logits = full_precision(logits)
    positive = torch.logsumexp(functional.logsigmoid(logits), 0)
    return positive - torch.logsumexp(functional.logsigmoid(-logits), 0)


def best_probabilities(
    counts: Sequence[float], class_weights: Sequence[float] | None, smoothing: float
) -> Numbers:
    r"""The constant prediction that minimises the training loss of a classification target.

    With class masses :math:`m_c = n_c w_c`, label smoothing e and C classes, the minimiser of
    :math:`\sum_c m_c \sum_k q_c(k)(-\log p_k)`, :math:`q_c = (1-e)\,1_c + e/C`, is
    :math:`p_k = (1-e)\,m_k/\sum_c m_c + e/C` (Gibbs' inequality).

    Example:
        >>> best_probabilities([3.0, 1.0], None, 0.0).tolist()
        [0.75, 0.25]
    """
    mass = np.array(counts) * (1.0 if class_weights is None else np.array(class_weights))
    probabilities = (1 - smoothing) * mass / mass.sum() + smoothing / len(mass)
    floored = np.maximum(probabilities, PROBABILITY_OF_AN_ABSENT_CLASS)
    return np.asarray(floored / floored.sum())


def _plain(value: object) -> Label:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value if isinstance(value, bool | int | str) else str(value)


def _written(label: Label) -> str:
    """One text for every way to store a label; the words of truth in any case."""
    if isinstance(label, str):
        lowered = label.lower()
        return lowered if lowered in ("true", "false") else _WHOLE.sub(r"\1", label)
    return str(label).lower() if isinstance(label, bool) else str(label)


_WHOLE = re.compile(r"^(-?(?:0|[1-9]\d*))\.0+$")


def _listed(classes: Sequence[Label]) -> str:
    shown = ", ".join(repr(label) for label in classes[:8])
    return shown if len(classes) <= 8 else f"{shown}, … ({len(classes)} in all)"
