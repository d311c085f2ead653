"""Is a large spread a warning? Spread of ensemble members or dropout draws against the error."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polytask._checks import require

from .calibration import equal_mass
from .predictions import Outputs
from .residuals import in_units

BINS = 10
MAX_ROWS = 4096
"""Labelled rows of a task on which it is measured; of more, evenly spaced ones."""
RESAMPLES = 200

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SpreadBin:
    """Rows of similar spread.

    Args:
        spread: Root mean square spread.
        error: Root mean square error.
        share: Share of the rows.
    """

    spread: float
    error: float
    share: float


@dataclass(frozen=True)
class Uncertainty:
    """Spread against error of one numeric task on one set of rows, in the target's unit.

    Args:
        name: The task.
        rows: Set of rows.
        labels: Labelled rows.
        source: Where the spread comes from, such as ``16 members`` or ``50 dropout draws``.
        bins: Bins of equal mass, by spread.
        correlation: Rank correlation of spread and absolute error; None if one is constant.
        low: Lower end of its 90 % interval.
        high: Its upper end.
        beyond: Share of rows whose error is more than twice the spread: there it warned of nothing.
    """

    name: str
    rows: str
    labels: int
    source: str
    bins: tuple[SpreadBin, ...]
    correlation: float | None
    low: float | None
    high: float | None
    beyond: float


def spread_against_error(
    outputs: Outputs,
    spreads: Mapping[str, Array],
    *,
    rows: str = "valid",
    source: str = "",
    seed: int = 0,
) -> tuple[Uncertainty, ...]:
    """Whether rows of larger spread have larger errors, for every numeric task with a spread.

    Spearman's rank correlation of spread and absolute error with a bootstrap interval, and both
    side by side in bins of equal mass. A spread of ensemble members or dropout draws holds no
    noise of the labels, so it is usually far below the error; what counts is whether it orders.

    Args:
        outputs: Raw outputs of the averaged prediction.
        spreads: Task → standard deviation of the single predictions for every row of the set, in
            the target's unit ``[rows]``.
        rows: Name of the set.
        source: Where the spread comes from, in words.
        seed: Seed of the resamples' own generator.
    """
    generator = np.random.default_rng(seed)
    found = []
    for index, task in enumerate(outputs.tasks):
        values = in_units(outputs, index) if task.name in spreads else None
        if values is None or len(values.true) < 2:
            continue
        given = np.asarray(spreads[task.name], dtype=np.float64)
        require(
            given.shape == (outputs.num_rows,),
            f"spreads of {task.name!r}",
            f"have shape [{outputs.num_rows}]",
            list(given.shape),
        )
        stride = -(-len(values.true) // MAX_ROWS)
        error = np.abs(values.true - values.predicted)[::stride]
        spread = given[values.rows][::stride]
        correlation, low, high = _correlation(spread, error, generator)
        found.append(
            Uncertainty(
                task.name,
                rows,
                len(error),
                source,
                _bins(spread, error),
                correlation,
                low,
                high,
                float((error > 2 * spread).mean()),
            )
        )
    return tuple(found)


def ranks(values: Array) -> Array:
    """Ranks from 0; equal values share their mean rank.

    Example:
        >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
        [1.5, 0.0, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse.reshape(-1)], dtype=np.float64)


def _correlation(
    spread: Array, error: Array, generator: np.random.Generator
) -> tuple[float | None, float | None, float | None]:
    first, second = ranks(spread), ranks(error)
    first, second = first - first.mean(), second - second.mean()
    if not first.any() or not second.any():
        return None, None, None
    scale = float(np.sqrt((first @ first) * (second @ second)))
    # Ranks are kept in the resamples: correlation of their weighted values.
    counts = generator.poisson(1.0, (RESAMPLES, len(first))).astype(np.float64)
    n = np.maximum(counts.sum(1), 1.0)
    a, b = counts @ first / n, counts @ second / n
    ab = counts @ (first * second) / n - a * b
    spreads = (counts @ first**2 / n - a**2) * (counts @ second**2 / n - b**2)
    drawn = ab[spreads > 0] / np.sqrt(spreads[spreads > 0])
    low, high = np.percentile(drawn, (5, 95)).tolist() if len(drawn) else (None, None)
    return float(first @ second) / scale, low, high


def _bins(spread: Array, error: Array) -> tuple[SpreadBin, ...]:
    bin_of = equal_mass(spread, BINS)
    size = np.bincount(bin_of).astype(np.float64)
    rms = [np.sqrt(np.bincount(bin_of, values**2) / size) for values in (spread, error)]
    rows = zip(rms[0].tolist(), rms[1].tolist(), (size / size.sum()).tolist(), strict=True)
    return tuple(SpreadBin(*row) for row in rows)
