"""The gap between training and validation with its uncertainty: a diagnostic, never a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evaluate import TaskEvaluation, finite

BLOCKS = 1024
"""More rows than this are first merged, at random, into this many blocks."""
RESAMPLES = 500

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """(validation − training loss) / |validation loss| of one task.

    Args:
        name: The task.
        when: ``kept`` for the restored weights, ``end`` for those of the last epoch.
        gap: The gap; None: not measured.
        low: Lower end of the 90 % interval over rows; None: no interval.
        high: Its upper end.
    """

    name: str
    when: str
    gap: float | None
    low: float | None = None
    high: float | None = None


def bootstrap_gaps(
    names: Sequence[str],
    train: Sequence[TaskEvaluation],
    valid: Sequence[TaskEvaluation],
    *,
    when: str = "kept",
    seed: int = 0,
) -> tuple[Gap, ...]:
    r"""Gaps with 90 % percentile intervals; training and validation rows are drawn apart.

    The gap is :math:`(L_{valid} - L_{train}) / |L_{valid}|` with losses in eval mode on hard
    labels. A resample draws a Poisson(1) count for every training and every validation row.

    Args:
        names: The tasks.
        train: Losses on training rows.
        valid: Losses on validation rows.
        when: ``kept`` or ``end``.
        seed: Seed of the resamples' own generator.
    """
    generator = np.random.default_rng(seed)
    seen, seen_losses = _resampled(train, generator)
    unseen, unseen_losses = _resampled(valid, generator)
    points = _gap(seen, unseen)
    drawn = _gap(seen_losses, unseen_losses)
    rows = []
    for index, name in enumerate(names):
        known = drawn[:, index][~np.isnan(drawn[:, index])]
        low, high = np.percentile(known, (5, 95)).tolist() if len(known) else (np.nan, np.nan)
        rows.append(Gap(name, when, *(finite(value) for value in (points[index], low, high))))
    return tuple(rows)


def final_gaps(history: Mapping[str, Any]) -> tuple[Gap, ...]:
    """Gaps of the last epoch's weights, from the curves, so without an interval.

    Args:
        history: `History.to_json()`; both curves are measured in eval mode.

    Example:
        >>> epoch = {"epoch": 1, "train": [0.5], "valid": [1.0]}
        >>> final_gaps({"tasks": ["y"], "epochs": [epoch]})
        (Gap(name='y', when='end', gap=0.5, low=None, high=None),)
    """
    epochs = history.get("epochs") or []
    last = epochs[-1] if epochs else {}
    if not last.get("train") or not last.get("valid"):
        return ()
    found = []
    for name, seen, unseen in zip(history["tasks"], last["train"], last["valid"], strict=True):
        gap = None if seen is None or not unseen else finite((unseen - seen) / abs(unseen))
        found.append(Gap(name, "end", gap))
    return tuple(found)


def _resampled(
    tasks: Sequence[TaskEvaluation], generator: np.random.Generator
) -> tuple[Array, Array]:
    """Losses ``[tasks]`` and resampled losses ``[resamples, tasks]``, NaN without labels."""
    rows = 1 + max((int(task.rows.max()) for task in tasks if len(task.rows)), default=0)
    blocks = min(rows, BLOCKS)
    block_of = np.arange(rows)
    if blocks < rows:
        block_of = generator.permutation(rows) * blocks // rows
    sums, totals = np.zeros((blocks, len(tasks))), np.zeros((blocks, len(tasks)))
    for index, task in enumerate(tasks):
        sums[:, index] = np.bincount(block_of[task.rows], task.weights * task.losses, blocks)
        totals[:, index] = np.bincount(block_of[task.rows], task.weights, blocks)
    counts = generator.poisson(1.0, (RESAMPLES, blocks)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums.sum(0) / totals.sum(0), (counts @ sums) / (counts @ totals)


def _gap(seen: Array, unseen: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = (unseen - seen) / np.abs(unseen)
    return np.where(np.isfinite(gap), gap, np.nan)
