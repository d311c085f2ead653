"""Projection on the dual cone of the gradients: UPGrad and DualProj."""

import numpy as np

from .compensated import NOTHING_LOST, LostDigits, affine, well_conditioned
from .lcp import solve_lcp
from .scaling import equilibrate, is_stationary, positive_rows, restrict
from .solution import STATIONARY, Array, Solution, conclude


def solve_upgrad(gramian: Array, preference: Array, precision: float) -> Solution:
    """Weights of Σ_i p_i π_J(g_i), every gradient projected before they are averaged.

    π_J(x) is the point nearest to x that conflicts with no row of J. For x = Jᵀa it is Jᵀv with
    v = argmin_{v ⪰ a} vᵀGv, so that

        v^(i) = argmin_{v ⪰ e_i} vᵀGv,     w = Σ_i p_i v^(i).

    With z = v - e_i that is the linear complementarity problem H = G, q = G e_i; for two tasks
    v^(1) = (1, max(0, -G12/G22)) and likewise v^(2). Tasks with a zero gradient keep weight p_k.

    Args:
        gramian: G, [tasks, tasks].
        preference: p ≥ 0, [tasks].
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Quinton, Rey, "Jacobian descent for multi-objective optimization", 2024, Proposition 1.
    """
    weights = preference.copy()
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size == 0:
        return conclude(weights, 0.0, STATIONARY)
    p = preference[rows]
    if rows.size == 2:
        i, j = rows
        inner = min(0.0, float(gramian[i, j]))
        weights[i] = p[0] - p[1] * (inner / float(gramian[i, i]))
        weights[j] = p[1] - p[0] * (inner / float(gramian[j, j]))
        residual = 0.0
    else:
        small = restrict(gramian, rows)
        matrix, exponents, _ = equilibrate(small)
        # Row i of the offsets is G̃ e_i: the problem of task i in its own unit of length.
        found, residuals = solve_lcp(matrix, matrix.copy())
        found[np.diag_indices(rows.size)] += 1.0
        # v^(i)_k carries the unit of task i divided by that of task k.
        weights[rows] = np.ldexp(found, exponents[:, None] - exponents[None, :]).T @ p
        residual = float(residuals.max())
    stationary = is_stationary(gramian, weights, precision)
    return conclude(weights, residual, *([STATIONARY] if stationary else []))


def solve_dualproj(gramian: Array, preference: Array, precision: float) -> Solution:
    """Weights of π_J(Jᵀp), the preferred mean projected as a whole.

        w = argmin_{v ⪰ p} vᵀGv

    With z = w - p that is the linear complementarity problem H = G, q = Gp. For two tasks: w = p if
    Gp ⪰ 0, otherwise exactly one (Gp)_i < 0, and w_i = -G_ij p_j / G_ii, w_j = p_j. Tasks with a
    zero gradient keep weight p_k.

    Args:
        gramian: G, [tasks, tasks].
        preference: p ≥ 0, [tasks].
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Lopez-Paz, Ranzato, "Gradient episodic memory for continual learning", 2017, Eq. 11.
    """
    weights = preference.copy()
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size == 0:
        return conclude(weights, 0.0, STATIONARY)
    if rows.size == 2:
        i, j = (int(row) for row in rows)
        inner = float(gramian[i, j])
        weights[i] = max(preference[i], -inner * preference[j] / float(gramian[i, i]))
        weights[j] = max(preference[j], -inner * preference[i] / float(gramian[j, j]))
        residual = 0.0
    else:
        matrix, exponents, _ = equilibrate(restrict(gramian, rows))
        scaled = np.ldexp(preference[rows], exponents)
        if is_stationary(matrix, scaled, precision):  # the mean is a rounding error: nothing to do
            return conclude(weights, 0.0, STATIONARY)
        offsets, lost = scaled[None] @ matrix, NOTHING_LOST
        sharpen = not well_conditioned(matrix)
        if sharpen:
            offsets = affine(scaled[None], matrix)
            lost = LostDigits(offsets=affine(scaled[None], matrix, -offsets))
        found, residuals = solve_lcp(matrix, offsets, lost=lost, sharpen=sharpen)
        weights[rows] = preference[rows] + np.ldexp(found[0], -exponents)
        residual = float(residuals[0])
    stationary = is_stationary(gramian, weights, precision)
    return conclude(weights, residual, *([STATIONARY] if stationary else []))
