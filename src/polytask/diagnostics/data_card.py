"""The data in figures: labels, duplicates across the split, drift of the targets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.batch import Batch
from polytask.tasks import BinaryTask, MulticlassTask, MultilabelTask, Task, TaskGroup

MEAN_DRIFT = 0.25
"""Standardised mean difference below which a drift is never flagged."""
SHARE_DRIFT = 0.1
"""Total variation below which a drift is never flagged."""
_CHUNK = 8192


@dataclass(frozen=True)
class TaskCard:
    """The labels of one task.

    Args:
        name: Its name.
        labels: Set of rows → labelled rows.
        ratio: Parameters per labelled training row; None without labels.
        drift: Distance between training and validation targets; None: not measured.
        measure: ``standardised mean difference`` or ``total variation``.
        flagged: Whether the drift is both large and larger than chance.
    """

    name: str
    labels: dict[str, int]
    ratio: float | None
    drift: float | None
    measure: str
    flagged: bool


@dataclass(frozen=True)
class DataCard:
    """What the model was fed with.

    Args:
        rows: Set of rows → its rows.
        parameters: Parameters of the model.
        duplicates: Set of rows → how many of its rows have exactly the inputs of a training row.
        same_labels: Set of rows → how many of those have its labels too.
        tasks: One card per task.
    """

    rows: dict[str, int]
    parameters: int
    duplicates: dict[str, int]
    same_labels: dict[str, int]
    tasks: tuple[TaskCard, ...]


def describe_data(
    tables: Mapping[str, Batch], groups: Sequence[TaskGroup], *, parameters: int
) -> DataCard:
    r"""Counts labels, finds rows on both sides of the split, and compares the targets' sides.

    The drift of a numeric target is the standardised mean difference
    :math:`(\bar y_{valid} - \bar y_{train}) / s` with the pooled deviation s; that of classes is
    the total variation :math:`\frac12 \sum_k |p_k - q_k|` (of several labels, the largest). It is
    flagged if it is larger than `MEAN_DRIFT` or `SHARE_DRIFT` and than three standard errors (for
    classes: their mean under equal shares plus three deviations).

    Args:
        tables: ``"train"``, ``"valid"``, ``"test"`` → all encoded rows, as far as there are any.
        groups: The task groups.
        parameters: Parameters of the model.

    Note:
        Rows count as duplicates if all encoded inputs are equal to the last bit: columns that
        the model does not see (identifiers, dates) may differ.
    """
    hashes = {name: _hashed(table) for name, table in tables.items()}
    known, known_pairs = hashes["train"]
    others = {name: pair for name, pair in hashes.items() if name != "train"}
    duplicates = {name: int(np.isin(rows, known).sum()) for name, (rows, _) in others.items()}
    same_labels = {name: int(np.isin(p, known_pairs).sum()) for name, (_, p) in others.items()}
    other = tables.get("valid", tables.get("test"))
    cards = {
        index: _card(group, place, tables, other, parameters)
        for group in groups
        for place, index in enumerate(group.indices)
    }
    return DataCard(
        {name: len(table.rows) for name, table in tables.items()},
        parameters,
        duplicates,
        same_labels,
        tuple(cards[index] for index in sorted(cards)),
    )


def row_hashes(parts: Sequence[Tensor], seed: int = 0) -> NDArray[np.uint64]:
    """One 64-bit hash per row; equal rows have equal ones, others practically never.

    Args:
        parts: Tensors with the same number of rows.
        seed: Hashes of different seeds have nothing to do with each other.

    Example:
        >>> first, second, third = row_hashes([torch.tensor([[1.0, 0.0], [1.0, -0.0], [0.0, 1.0]])])
        >>> bool(first == second), bool(first == third)
        (True, False)
    """
    total = np.zeros(len(parts[0]), dtype=np.uint64)
    generator = np.random.default_rng(seed)
    for part in parts:
        flat = part.reshape(len(part), -1)
        keys = generator.integers(0, 2**64, flat.shape[1], dtype=np.uint64)
        for start in range(0, len(flat), _CHUNK):
            piece = flat[start : start + _CHUNK].cpu().double() + 0.0  # -0.0 becomes 0.0
            mixed = piece.contiguous().numpy().view(np.uint64)
            mixed ^= keys
            mixed *= np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(32)
            total[start : start + _CHUNK] += mixed.sum(1, dtype=np.uint64)
    return total


def _hashed(table: Batch) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hashes of the inputs, and of inputs with labels."""
    inputs = row_hashes(_inputs(table))
    return inputs, inputs + row_hashes(_labels(table), seed=1)


def _inputs(table: Batch) -> list[Tensor]:
    inputs = table.inputs
    return [inputs] if isinstance(inputs, Tensor) else [inputs[key] for key in sorted(inputs)]


def _labels(table: Batch) -> list[Tensor]:
    return [part[key] for key in sorted(table.targets) for part in (table.targets, table.masks)]


def _card(
    group: TaskGroup,
    place: int,
    tables: Mapping[str, Batch],
    other: Batch | None,
    parameters: int,
) -> TaskCard:
    task = group.tasks[place]
    labels = {name: int(t.masks[group.name][:, place].sum()) for name, t in tables.items()}
    ratio = parameters / labels["train"] if labels["train"] else None
    drift, flagged = None, False
    if other is not None:
        seen, unseen = (
            table.targets[group.name][:, place][table.masks[group.name][:, place]].cpu()
            for table in (tables["train"], other)
        )
        if len(seen) and len(unseen):
            drift, flagged = target_drift(task, seen, unseen)
    classes = isinstance(task, BinaryTask | MulticlassTask | MultilabelTask)
    measure = "total variation" if classes else "standardised mean difference"
    return TaskCard(task.name, labels, ratio, drift, measure, flagged)


def target_drift(task: Task, seen: Tensor, unseen: Tensor) -> tuple[float, bool]:
    """Distance between two sets of encoded targets of one task, and whether it is flagged.

    Args:
        task: Says whether they are numbers, classes or labels.
        seen: Encoded targets of training rows, at least one.
        unseen: The same of other rows.
    """
    error = math.sqrt(1 / len(seen) + 1 / len(unseen))
    if isinstance(task, MultilabelTask):
        drifts = [
            _shares(a[a >= 0].long(), b[b >= 0].long(), 2)
            for a, b in zip(seen.unbind(-1), unseen.unbind(-1), strict=True)
            if (a >= 0).any() and (b >= 0).any()
        ]
        return max((drift for drift, _ in drifts), default=0.0), any(flag for _, flag in drifts)
    if isinstance(task, BinaryTask | MulticlassTask):
        classes = 2 if isinstance(task, BinaryTask) else task.outputs
        return _shares(seen.long(), unseen.long(), classes)
    first, second = seen.double(), unseen.double()
    squares = ((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()
    deviation = math.sqrt(float(squares) / (len(seen) + len(unseen)))
    difference = float(second.mean() - first.mean())
    drift = (
        difference / deviation if deviation else math.copysign(1.0, difference) * bool(difference)
    )
    return drift, abs(drift) > max(MEAN_DRIFT, 3 * error)


def _shares(seen: Tensor, unseen: Tensor, classes: int) -> tuple[float, bool]:
    first = torch.bincount(seen, minlength=classes).double()
    second = torch.bincount(unseen, minlength=classes).double()
    drift = float((first / first.sum() - second / second.sum()).abs().sum() / 2)
    pooled = (first + second) / (first + second).sum()
    errors = (pooled * (1 - pooled) * (1 / len(seen) + 1 / len(unseen))).sqrt()
    # |N(0, s)| has mean s√(2/π) and deviation s√(1 − 2/π).
    chance = float(errors.sum()) / 2 * (math.sqrt(2 / math.pi) + 3 * math.sqrt(1 - 2 / math.pi))
    return drift, drift > max(SHARE_DRIFT, chance)
