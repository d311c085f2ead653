"""Scaling of numeric columns: where the centre is, how long the unit is, how far values may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Scaling = Literal["robust", "standard", "none"]


@dataclass(frozen=True)
class Scale:
    r"""One column's affine map, with or without a smooth clip after it.

    ``apply`` computes :math:`z = (x - c)\,f` and, with `clip`, :math:`z / \sqrt{1 + (z/3)^2}`,
    which is z near 0 and stays within (−3, 3).

    Args:
        center: c.
        factor: f; 0 for a column that was constant.
        clip: Whether the smooth clip follows.

    Example:
        >>> Scale(center=10.0, factor=0.5, clip=False).apply(np.array([12.0])).tolist()
        [1.0]
        >>> float(Scale(0.0, 1.0, clip=True).apply(np.array([1e300]))[0])
        3.0
    """

    center: float
    factor: float
    clip: bool

    def apply(self, values: Floats) -> Floats:
        """Scaled values; NaN stays NaN."""
        with np.errstate(over="ignore"):
            scaled = (values - self.center) * self.factor
        return smooth_clip(scaled) if self.clip else scaled


def smooth_clip(values: Floats, bound: float = 3.0) -> Floats:
    r"""The smooth clip :math:`z / \sqrt{1 + (z/b)^2}`, strictly inside (−b, b) before rounding.

    Reference:
        D. Holzmüller, L. Grinsztajn, I. Steinwart, "Better by Default: Strong Pre-Tuned MLPs and
        Boosted Trees on Tabular Data", NeurIPS 2024, appendix on preprocessing,
        https://arxiv.org/abs/2407.04491.
    """
    # hypot neither overflows nor loses small values; an infinite z is its own limit.
    with np.errstate(invalid="ignore"):
        clipped = values / np.hypot(1.0, values / bound)
    return np.where(np.isinf(values), np.copysign(bound, values), clipped)


def robust_scale(values: Floats) -> Scale:
    r"""Median centre, interquartile unit; half the range where the quartiles coincide.

    :math:`f = 1/(q_{75} - q_{25})`, or :math:`2/(\max - \min)` if that is zero, or 0 for a
    constant. Where the quartiles differ the affine part equals scikit-learn's ``RobustScaler``.

    Args:
        values: Training values; NaN is left out.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return Scale(0.0, 0.0, clip=True)
    low, center, high = np.quantile(known, (0.25, 0.5, 0.75))
    with np.errstate(over="ignore"):
        unit = high - low or 0.5 * (known.max() - known.min())
    return Scale(float(center), _inverse(unit), clip=True)


def standard_scale(values: Floats) -> Scale:
    """Mean centre, standard deviation (population) as unit: scikit-learn's ``StandardScaler``.

    Args:
        values: Training values; NaN is left out.
    """
    known = values[~np.isnan(values)]
    if not len(known) or known.min() == known.max():
        return Scale(float(known[0]) if len(known) else 0.0, 0.0, clip=False)
    with np.errstate(over="ignore", invalid="ignore"):
        return Scale(float(known.mean()), _inverse(known.std()), clip=False)


def fit_scale(values: Floats, scaling: Scaling) -> Scale:
    """The scale of one column; 0/1 columns stay 0/1 whatever the scaling is."""
    known = values[~np.isnan(values)]
    if scaling == "none" or ((known == 0) | (known == 1)).all():
        return Scale(0.0, 1.0, clip=False)
    return robust_scale(values) if scaling == "robust" else standard_scale(values)


def _inverse(unit: float) -> float:
    """1/unit, and 0 where that is no number a computer can hold."""
    with np.errstate(divide="ignore", over="ignore"):
        factor = float(np.float64(1.0) / np.float64(unit))
    return factor if np.isfinite(factor) else 0.0
