"""Predicted against true values, and the distribution of what is left."""

from dataclasses import dataclass

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Residuals:
    """One numeric task on one set of rows, in the target's unit.

    Args:
        name: The task.
        rows: Set of rows.
        labels: Labelled rows.
        points: (predicted, true) of evenly spaced rows.
        quantiles: (probability, quantile of true − predicted).
        mean: Mean residual.
    """

    name: str
    rows: str
    labels: int
    points: tuple[tuple[float, float], ...]
    quantiles: tuple[tuple[float, float], ...]
    mean: float
