"""Do predicted probabilities come true? Reliability diagram and expected calibration error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from polytask.tasks import BinaryTask, MulticlassTask, MultilabelTask, Task

from .predictions import Outputs

BINS = 15
PER_BIN = 10
"""With fewer labels than this per bin there are fewer bins."""
MAX_LABELS, MIN_LABELS = 4096, 256
"""Labels of a task on which it is measured; of more, evenly spaced ones."""
BUDGET = 32_768
"""Labels of all tasks together; with many tasks each has fewer, but `MIN_LABELS`."""
RESAMPLES = 200

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of similar confidence.

    Args:
        confidence: Mean predicted probability.
        frequency: Share of them that came true.
        share: Share of the rows in this bin.
    """

    confidence: float
    frequency: float
    share: float


@dataclass(frozen=True)
class Calibration:
    """One classification task on one set of rows.

    Args:
        name: The task.
        rows: Set of rows.
        labels: Labels it was measured on.
        about: Whose probability: ``positive class``, ``most probable class`` or ``every label``.
        bins: Bins of equal mass, by confidence.
        ece: Expected calibration error Σ share · |frequency − confidence|.
        low: Lower end of its 90 % interval.
        high: Its upper end.
        by_chance: Mean error that perfect probabilities would show on as many labels.
        temperature: Divisor of the logits that was fitted; None: none.
        ece_after: The error after it.
        bins_after: The bins after it.
    """

    name: str
    rows: str
    labels: int
    about: str
    bins: tuple[ReliabilityBin, ...]
    ece: float
    low: float
    high: float
    by_chance: float
    temperature: float | None = None
    ece_after: float | None = None
    bins_after: tuple[ReliabilityBin, ...] = ()


class Forecasts(NamedTuple):
    """Probabilities and what came of them.

    Args:
        chances: Predicted probabilities ``[labels]``.
        hits: 1 where it came true ``[labels]``.
        weights: Row weights ``[labels]``.
    """

    chances: Array
    hits: Array
    weights: Array


def calibrate(
    outputs: Outputs,
    *,
    rows: str = "valid",
    temperatures: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[Calibration, ...]:
    r"""Reliability of every classification task with labels.

    :math:`ECE = \sum_b m_b |f_b - c_b|` over 15 bins of equal mass m, fewer where a bin would have
    less than ten labels, with the mean confidence c and the frequency f of a bin (Σ m = 1). The
    confidence is that of the positive class (two classes), of the most probable class (more), or
    of every label.

    Args:
        outputs: Raw outputs on rows that the model was not trained on.
        rows: Their name.
        temperatures: Task → number that its logits were divided by already: the figures "before"
            undo that (for an ensemble nearly, since its probabilities are averaged afterwards).
        seed: Seed of the resamples' own generator.

    Note:
        The error is biased upwards: perfect probabilities have `by_chance`, not 0. Resampling
        adds the same bias once more, so the interval is the basic one, 2·ECE − quantiles, cut at
        0, which takes it off again. Bins keep their edges in all resamples.

    Reference:
        J. Bröcker and L. Smith, "Increasing the Reliability of Reliability Diagrams", Weather and
        Forecasting 22, 2007, https://doi.org/10.1175/WAF993.1 (what chance alone shows); A. Davison
        and D. Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2.
    """
    generator = np.random.default_rng(seed)
    asked = sum(1 for task in outputs.tasks if _about(task))
    limit = min(MAX_LABELS, max(MIN_LABELS, BUDGET // max(asked, 1)))
    found = []
    for index, task in enumerate(outputs.tasks):
        kind = _about(task)
        temperature = (temperatures or {}).get(task.name)
        undone = 1.0 / (temperature or 1.0)
        forecasts = None if not kind else forecast(outputs, index, undone, limit)
        if forecasts is None:
            continue
        bin_of = _bin_of(forecasts.chances)
        ece, low, high = _interval(forecasts, bin_of, generator)
        after: tuple[ReliabilityBin, ...] = ()
        if temperature is not None:
            kept = forecast(outputs, index, limit=limit)
            after = _bins(kept, _bin_of(kept.chances)) if kept is not None else ()
        found.append(
            Calibration(
                name=task.name,
                rows=rows,
                labels=len(forecasts.chances),
                about=kind,
                bins=_bins(forecasts, bin_of),
                ece=ece,
                low=low,
                high=high,
                by_chance=_by_chance(forecasts, bin_of, generator),
                temperature=temperature,
                ece_after=expected_error(after) if after else None,
                bins_after=after,
            )
        )
    return tuple(found)


def forecast(
    outputs: Outputs, index: int, temperature: float = 1.0, limit: int = MAX_LABELS
) -> Forecasts | None:
    """Probabilities of the task at `index`, and whether they came true; None without labels.

    Args:
        outputs: Raw outputs of a classification task.
        index: Its position in the user's order.
        temperature: Divisor of the logits.
        limit: Of more labels, evenly spaced ones are taken.
    """
    task = outputs.tasks[index]
    logits, target, weights, rows = outputs.of(index)
    logits = logits.detach().double() / temperature
    weight = torch.ones(len(rows), dtype=torch.float64) if weights is None else weights.double()
    if isinstance(task, MulticlassTask):
        chances, best = torch.softmax(logits, -1).max(-1)
        hits = best == target
    elif isinstance(task, MultilabelTask):
        observed = target >= 0
        weight = weight.unsqueeze(-1).expand_as(target)[observed]
        chances, hits = torch.sigmoid(logits)[observed], target[observed] > 0
    else:
        chances, hits = torch.sigmoid(logits.squeeze(-1)), target > 0
    kept = ((weight > 0) & chances.isfinite()).nonzero().squeeze(-1)
    kept = kept[:: -(-len(kept) // limit) or 1]
    if not len(kept):
        return None
    return Forecasts(chances[kept].numpy(), hits[kept].double().numpy(), weight[kept].numpy())


def equal_mass(chances: Array, bins: int) -> NDArray[np.int64]:
    """The bin of every probability; equal ones are never parted, so bins may be fewer.

    Example:
        >>> equal_mass(np.array([0.1, 0.2, 0.3, 0.4]), bins=2).tolist()
        [0, 0, 1, 1]
        >>> equal_mass(np.array([0.5, 0.5, 0.5, 0.9]), bins=2).tolist()
        [0, 0, 0, 1]
    """
    _, inverse, counts = np.unique(chances, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(chances)
    raw = (middle * bins).astype(np.int64)[inverse.reshape(-1)]
    return np.unique(raw, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _bin_of(chances: Array) -> NDArray[np.int64]:
    return equal_mass(chances, max(2, min(BINS, len(chances) // PER_BIN)))


def expected_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Σ share · |frequency − confidence|."""
    return float(sum(b.share * abs(b.frequency - b.confidence) for b in bins))


def _about(task: Task) -> str:
    if isinstance(task, BinaryTask):
        return "positive class"
    if isinstance(task, MulticlassTask):
        return "most probable class"
    return "every label" if isinstance(task, MultilabelTask) else ""


def _bins(forecasts: Forecasts, bin_of: NDArray[np.int64]) -> tuple[ReliabilityBin, ...]:
    chances, hits, weights = forecasts
    mass = np.bincount(bin_of, weights)
    confidence = np.bincount(bin_of, weights * chances) / mass
    frequency = np.bincount(bin_of, weights * hits) / mass
    rows = zip(confidence.tolist(), frequency.tolist(), (mass / mass.sum()).tolist(), strict=True)
    return tuple(ReliabilityBin(*row) for row in rows)


def _members(bin_of: NDArray[np.int64]) -> Array:
    """One column per bin: 1 for its members."""
    return np.eye(int(bin_of.max()) + 1)[bin_of]


def _interval(
    forecasts: Forecasts, bin_of: NDArray[np.int64], generator: np.random.Generator
) -> tuple[float, float, float]:
    chances, hits, weights = forecasts
    members = _members(bin_of)
    excess = (weights * (hits - chances))[:, None] * members
    point = float(np.abs(excess.sum(0)).sum() / weights.sum())
    counts = generator.poisson(1.0, (RESAMPLES, len(chances))).astype(np.float64)
    totals = counts @ weights
    drawn = np.abs(counts @ excess).sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(drawn, (5, 95)) if len(drawn) else (point, point)
    return point, max(0.0, float(2 * point - high)), max(point, float(2 * point - low))


def _by_chance(
    forecasts: Forecasts, bin_of: NDArray[np.int64], generator: np.random.Generator
) -> float:
    """Mean error if every event had exactly the predicted probability."""
    chances, _, weights = forecasts
    drawn = generator.random((RESAMPLES, len(chances))) < chances
    excess = ((drawn - chances) * weights) @ _members(bin_of)
    return float(np.abs(excess).sum(1).mean() / weights.sum())
