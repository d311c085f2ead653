"""The gap between training and validation with its uncertainty: a diagnostic, never a score."""

from dataclasses import dataclass


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
