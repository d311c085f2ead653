"""The point of least norm in the convex hull of the gradients: MGDA."""

import numpy as np

from .compensated import LostDigits
from .lcp import solve_lcp
from .scaling import equilibrate, is_stationary, positive_rows, restrict
from .solution import STATIONARY, Array, Solution, conclude


def solve_min_norm(gramian: Array, precision: float) -> Solution:
    """Minimises wᵀGw over the simplex {w ≥ 0, Σw = 1}.

    Optimal exactly if (Gw)_k ≥ wᵀGw for every k, with equality where w_k > 0. As a linear
    complementarity problem, for any shift s > 0,

        z ≥ 0,   y = (G + s·11ᵀ) z - 1 ≥ 0,   zᵀy = 0,   w = z / Σz.

    The shift matters in floating point: s is the squared norm of the smallest gradient (to a power
    of two), which no optimum exceeds; with the mean of the squared norms the solution of six
    decades of scales is lost in rounding. For two tasks
    w_1 = clip((G22 - G12) / (G11 + G22 - 2 G12), 0, 1). Tasks with a zero gradient are left out.

    Args:
        gramian: G, [tasks, tasks].
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Désidéri, "Multiple-gradient descent algorithm", 2012; Sener, Koltun, "Multi-task learning
        as multi-objective optimization", NeurIPS 2018.
    """
    size = gramian.shape[0]
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size == 0:
        return conclude(np.full(size, 1.0 / size), 0.0, STATIONARY)
    weights = np.zeros(size)
    residual = 0.0
    if rows.size == 1:
        weights[rows] = 1.0
    elif rows.size == 2:
        weights[rows] = two_task_weights(restrict(gramian, rows))
    else:
        matrix, exponents, _ = equilibrate(restrict(gramian, rows))
        # Column k in the unit of task k: e_k = (norm of the smallest) / (norm of k) ≤ 1.
        units = np.ldexp(1.0, exponents.min() - exponents)
        shift = np.outer(units, units)
        shifted = matrix + shift
        back = shifted - matrix
        rounding = (matrix - (shifted - back)) + (shift - back)
        found, residuals = solve_lcp(shifted, -units[None], lost=LostDigits(matrix=rounding))
        share = found[0] * units
        weights[rows] = share / share.sum()
        residual = float(residuals[0])
    stationary = is_stationary(gramian, weights, precision)
    return conclude(weights, residual, *([STATIONARY] if stationary else []))


def two_task_weights(gramian: Array) -> Array:
    """The closed form for two gradients; equal gradients share equally."""
    g11, g12, g22 = float(gramian[0, 0]), float(gramian[0, 1]), float(gramian[1, 1])
    # Written as a sum of differences, the denominator has no cancellation of its own.
    first, second = g22 - g12, g11 - g12
    if first <= 0.0 and second <= 0.0:
        return np.array([0.5, 0.5])
    if first <= 0.0:
        return np.array([0.0, 1.0])
    if second <= 0.0:
        return np.array([1.0, 0.0])
    return np.array([first, second]) / (first + second)
