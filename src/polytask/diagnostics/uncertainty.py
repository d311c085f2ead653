"""Is a large spread a warning? Spread of ensemble members or dropout draws against the error."""

from dataclasses import dataclass


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
    """Spread against error of one task on one set of rows.

    Args:
        name: The task.
        rows: Set of rows.
        labels: Labelled rows.
        source: Where the spread comes from, such as ``16 members`` or ``50 dropout draws``.
        bins: Bins of equal mass, by spread.
        correlation: Rank correlation of spread and absolute error; None if the spread is constant.
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
