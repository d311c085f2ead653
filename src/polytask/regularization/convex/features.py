"""Which inputs a sparse solution uses, and for which tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from polytask._checks import require

from .problem import Array


@final
@dataclass(frozen=True)
class SelectedFeature:
    """One input.

    Args:
        feature: Its name.
        norm: Length of its weights across tasks; 0 if no task uses it.
        tasks: Tasks with a weight that is not exactly zero.
    """

    feature: str
    norm: float
    tasks: tuple[str, ...]


def selected_features(
    weights: Array, names: Sequence[str], tasks: Sequence[str]
) -> tuple[SelectedFeature, ...]:
    """The inputs with their weights' norms, largest first; from exact zeros, without a threshold.

    Args:
        weights: W, ``[features, outputs]``.
        names: Of the features.
        tasks: Task of every output; a task with several outputs stands several times.

    Example:
        >>> rows = selected_features(np.array([[0.0, 0.0], [3.0, 4.0]]), ["a", "b"], ["s", "t"])
        >>> [(row.feature, row.norm, row.tasks) for row in rows]
        [('b', 5.0, ('s', 't')), ('a', 0.0, ())]
    """
    shape = [len(names), len(tasks)]
    require(list(weights.shape) == shape, "weights", f"have shape {shape}", list(weights.shape))
    norms = np.sqrt((weights**2).sum(1))
    rows = [
        SelectedFeature(
            name,
            float(norm),
            tuple(dict.fromkeys(t for t, w in zip(tasks, row, strict=True) if w != 0)),
        )
        for name, norm, row in zip(names, norms, weights, strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: -row.norm))
