"""Do predicted probabilities come true? Reliability diagram and expected calibration error."""

from dataclasses import dataclass


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
        labels: Labelled rows it was measured on.
        about: Whose probability: ``positive class``, ``most probable class`` or ``labels``.
        bins: Bins of equal mass, by confidence.
        ece: Expected calibration error Σ share · |frequency − confidence|.
        low: Lower end of its 90 % interval.
        high: Its upper end.
        by_chance: Mean error that perfect probabilities would show on as many rows.
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
