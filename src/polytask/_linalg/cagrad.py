"""Conflict-averse gradient descent."""

import numpy as np

from .cone import solve_dualproj
from .lcp import solve_lcp
from .scaling import equilibrate, positive_rows
from .solution import STATIONARY, Array, Solution, conclude

_ROUNDS = 60
_EPS = float(np.finfo(np.float64).eps)


def solve_cagrad(gramian: Array, c: float, precision: float) -> Solution:
    """Weights of the direction with the best worst slope within a ball around the mean gradient.

        max_d min_k g_kᵀd   subject to   ‖d - g_0‖ ≤ c‖g_0‖,     g_0 = Jᵀu, u = (1/K) 1

    The weights are u + v with v ⪰ 0. For a given worst slope μ, the nearest d to g_0 with slopes of
    at least μ is g_0 + Jᵀv where v solves the linear complementarity problem

        v ≥ 0,   y = G v + Gu - μ1 ≥ 0,   vᵀy = 0,

    and ‖Jᵀv‖ increases with μ; the optimum is the μ at which it reaches c‖g_0‖ = √φ. On the support
    S of v the crossing is the root of a quadratic: with x = G_SS⁻¹1, y = G_SS⁻¹(Gu)_S, X = 1ᵀx,
    Y = 1ᵀy,

        μ = (Y + √(Y² - X (yᵀ(Gu)_S - φ))) / X,     v_S = μx - y.

    So supports are visited until the root of the current one reproduces it, bracketed by bisection.
    This is the dual problem of the paper in other variables (its w is v/Σv), with one fixed matrix
    for all μ and without its 0/0 at stationary points: there no direction has a positive worst
    slope, and the projection π_J(g_0), which is μ = 0, is optimal if it lies in the ball.

    Args:
        gramian: G, [tasks, tasks].
        c: Radius of the ball relative to ‖g_0‖, 0 ≤ c < 1.
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Liu, Liu, Jin, Stone, Liu, "Conflict-averse gradient descent", NeurIPS 2021, Eq. 3 and 4.
    """
    size = gramian.shape[0]
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size == 0:
        return conclude(np.full(size, (1.0 + c) / size), 0.0, STATIONARY)
    weights = np.zeros(size)
    small = gramian[np.ix_(rows, rows)]
    uniform = np.full(rows.size, 1.0 / rows.size)
    radius = float(uniform @ small @ uniform)
    natural = float(np.sqrt(np.diagonal(small)).mean())
    if radius <= rows.size * precision * natural**2:  # g_0 = 0: the ball is a point
        weights[rows] = uniform
        return conclude(weights, 0.0, STATIONARY)
    if c == 0.0:
        weights[rows] = uniform
        return conclude(weights, 0.0)
    extra, residual, stationary = _extra_weights(small, uniform, c, precision)
    weights[rows] = uniform + extra
    return conclude(weights, residual, *([STATIONARY] if stationary else []))


def _extra_weights(
    gramian: Array, uniform: Array, c: float, precision: float
) -> tuple[Array, float, bool]:
    """v, its residual, and whether the point is stationary."""
    matrix, exponents, _ = equilibrate(gramian)
    lowest = exponents.min()
    mean = np.ldexp(uniform, exponents)
    units = np.ldexp(1.0, lowest - exponents)
    slopes = matrix @ mean
    phi = c * c * float(mean @ slopes)

    projected = solve_dualproj(gramian, uniform, precision)
    extra = np.ldexp(projected.weights - uniform, exponents)
    reached = float(extra @ matrix @ extra)
    # A slope that every task shares: ‖projection‖ > 0 means that some μ > 0 is feasible.
    stationary = reached < phi and STATIONARY in projected.flags
    if stationary:
        return projected.weights - uniform, projected.residual, True
    if reached < phi:
        low, high = (
            0.0,
            float((slopes / units).max() * (1.0 + 1.0 / c) + np.sqrt(phi) / units.min()),
        )
    else:
        low, high = float((slopes / units).min()), 0.0
    support = extra > 0.0
    if not support.any():
        support = slopes / units <= (slopes / units).min()
    best, smallest = extra, np.inf
    for _ in range(_ROUNDS):
        mu = _root(matrix, slopes, units, phi, support)
        if not low <= mu <= high:
            mu = 0.5 * (low + high)
        found, residuals = solve_lcp(matrix, (slopes - mu * units)[None])
        candidate = found[0]
        squared = float(candidate @ matrix @ candidate)
        residual = max(float(residuals[0]), abs(squared - phi) / phi)
        if residual < smallest:
            best, smallest = candidate, residual
        settled = bool(((candidate > 0.0) == support).all())
        support = candidate > 0.0
        if squared > phi or residuals[0] > 1e-8:
            high = min(high, mu)
        else:
            low = max(low, mu)
        if smallest <= 64 * _EPS or (settled and smallest <= 1e-10) or high <= low:
            break
    return np.ldexp(best, -exponents), smallest, False


def _root(
    matrix: Array,
    slopes: Array,
    units: Array,
    phi: float,
    support: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
) -> float:
    """The worst slope at which the weights on `support` reach the ball; NaN if they never do."""
    inside = np.flatnonzero(support)
    if not inside.size:
        return float("nan")
    sides = np.stack([units[inside], slopes[inside]], axis=1)
    try:
        solved = np.linalg.solve(matrix[np.ix_(inside, inside)], sides)
    except np.linalg.LinAlgError:
        return float("nan")
    big_x = float(solved[:, 0] @ units[inside])
    big_y = float(solved[:, 1] @ units[inside])
    discriminant = big_y * big_y - big_x * (float(solved[:, 1] @ slopes[inside]) - phi)
    if discriminant <= 0.0 or big_x <= 0.0:
        return float("nan")
    return (big_y + float(np.sqrt(discriminant))) / big_x
