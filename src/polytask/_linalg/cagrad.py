"""Conflict-averse gradient descent."""

import math

import numpy as np

from .compensated import NOTHING_LOST, LostDigits, affine, well_conditioned
from .lcp import lcp_residual, solve_lcp
from .min_norm import solve_min_norm
from .scaling import equilibrate, positive_rows, restrict
from .solution import STATIONARY, TOLERANCE, Array, Solution, conclude

_ROUNDS = 60
_ACCEPT = 1e-12
_DIGITS = 1e-4
_CORRECTIONS = 3
_SETTLED = 1e-10


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
    small = restrict(gramian, rows)
    uniform = np.full(rows.size, 1.0 / rows.size)
    radius = float(uniform @ small @ uniform)
    natural = float(np.sqrt(np.diagonal(small)).mean())
    if radius <= rows.size * precision * natural**2:  # g_0 = 0: the ball is a point
        weights[rows] = uniform
        return conclude(weights, 0.0, STATIONARY)
    if c == 0.0:
        weights[rows] = uniform
        return conclude(weights, 0.0)
    if rows.size == 2:
        pair = _two_tasks(small, c, radius)
        if pair is not None:
            weights[rows] = pair[0]
            return conclude(weights, pair[1])
    extra, residual, stationary = _extra_weights(small, uniform, c, precision)
    weights[rows] = uniform + extra
    return conclude(weights, residual, *([STATIONARY] if stationary else []))


def _two_tasks(gramian: Array, c: float, radius: float) -> tuple[Array, float] | None:
    """The closed form for two gradients and its residual; None where it loses digits.

    With the unclipped weights m of least norm and R = 1 - (1 - c²) uᵀGu / mᵀGm, the paper's w is
    m + (m - u)/√R, clipped to the simplex, if R > 0; otherwise the better of the two vertices.
    """
    g11, g12, g22 = float(gramian[0, 0]), float(gramian[0, 1]), float(gramian[1, 1])
    spread = (g11 - g12) + (g22 - g12)
    least = g11 * g22 - g12 * g12
    if spread <= 0.0 or least <= _DIGITS * g11 * g22:
        return None
    m = (g22 - g12) / spread
    ratio = 1.0 - (1.0 - c * c) * radius * spread / least
    if ratio > 0.0:
        first = min(1.0, max(0.0, m + (m - 0.5) / math.sqrt(ratio)))
    else:
        reach = c * math.sqrt(radius)
        values = [0.5 * (g + g12) + reach * math.sqrt(g) for g in (g11, g22)]
        first = 1.0 if values[0] <= values[1] else 0.0
    second = 1.0 - first
    squared = first * first * g11 + 2.0 * first * second * g12 + second * second * g22
    factor = c * math.sqrt(radius / squared)
    one, two = 0.5 + factor * first, 0.5 + factor * second
    # Tasks with extra weight share the worst slope; the others are not below it.
    gap = (g12 * one + g22 * two) - (g11 * one + g12 * two)
    miss = abs(gap) if 0.0 < first < 1.0 else max(0.0, -gap if first == 1.0 else gap)
    norms = math.sqrt(g11), math.sqrt(g22)
    residual = miss / (min(norms) * (one * norms[0] + two * norms[1]))
    return (np.array([one, two]), residual) if residual <= _ACCEPT else None


def _extra_weights(
    gramian: Array, uniform: Array, c: float, precision: float
) -> tuple[Array, float, bool]:
    """v, its residual, and whether the point is stationary."""
    matrix, exponents, _ = equilibrate(gramian)
    mean = np.ldexp(uniform, exponents)
    units = np.ldexp(1.0, exponents.min() - exponents)
    slopes, lost, exact = matrix @ mean, NOTHING_LOST, not well_conditioned(matrix)
    if exact:
        slopes = affine(mean[None], matrix)[0]
        lost = LostDigits(offsets=affine(mean[None], matrix, -slopes[None]))
    phi = c * c * float(mean @ slopes)

    projected, residuals = solve_lcp(matrix, slopes[None], sharpen=exact)  # μ = 0: DualProj
    extra = projected[0]
    reached = float(extra @ matrix @ extra)
    relative = slopes / units
    if reached >= phi:
        low, high = float(relative.min()), 0.0
    elif STATIONARY in solve_min_norm(gramian, precision).flags:  # no μ > 0 is feasible
        return np.ldexp(extra, -exponents), float(residuals[0]), True
    else:
        # No slope exceeds ‖g_k‖‖d‖, and the smallest gradient has the tightest bound.
        low, high = 0.0, 2.0 * (1.0 + 1.0 / c) * float(np.sqrt(phi))
    support = extra > 0.0
    if not support.any():
        support = relative <= relative.min()
    best, smallest, level = extra, np.inf, 0.0
    for _ in range(_ROUNDS):
        mu, candidate = _crossing(matrix, slopes, units, phi, support)
        if low < mu < high:
            residual = _residual(matrix, slopes - mu * units, candidate, phi)
            if residual < smallest:
                best, smallest, level = candidate, residual, mu
            if residual <= _ACCEPT:
                break
        else:  # visited before, or no crossing: halve the bracket
            mu = 0.5 * (low + high)
        found, residuals = solve_lcp(
            matrix, (slopes - mu * units)[None], support[None], sharpen=False
        )
        candidate = found[0]
        residual = _residual(matrix, slopes - mu * units, candidate, phi)
        if residual < smallest:
            best, smallest, level = candidate, residual, mu
        if residual <= _ACCEPT or not low < mu < high:  # the bracket is down to two numbers
            break
        support = candidate > 0.0
        if float(candidate @ matrix @ candidate) > phi or residuals[0] > TOLERANCE:
            high = mu
        else:
            low = mu
    if exact and smallest <= TOLERANCE:
        sharper = _last_digits(matrix, slopes, lost, units, phi, level, best)
        if sharper is not None:
            best = sharper
    return np.ldexp(best, -exponents), smallest, False


def _residual(matrix: Array, offset: Array, candidate: Array, phi: float) -> float:
    """Violation of complementarity and of the ball, both relative."""
    complementarity = float(lcp_residual(matrix, offset[None], candidate[None])[0])
    return max(complementarity, abs(float(candidate @ matrix @ candidate) - phi) / phi)


def _crossing(
    matrix: Array,
    slopes: Array,
    units: Array,
    phi: float,
    support: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
) -> tuple[float, Array]:
    """The worst slope μ at which the weights on `support` reach the ball (or NaN), and they."""
    candidate = np.zeros(len(slopes))
    inside = support.nonzero()[0]
    sides = np.stack([units[inside], slopes[inside]], axis=1)
    try:
        solved = np.linalg.solve(matrix[inside][:, inside], sides)
    except np.linalg.LinAlgError:
        return float("nan"), candidate
    big_x = float(solved[:, 0] @ units[inside])
    big_y = float(solved[:, 1] @ units[inside])
    discriminant = big_y * big_y - big_x * (float(solved[:, 1] @ slopes[inside]) - phi)
    if not inside.size or discriminant <= 0.0 or big_x <= 0.0:
        return float("nan"), candidate
    mu = (big_y + float(np.sqrt(discriminant))) / big_x
    candidate[inside] = np.maximum(mu * solved[:, 0] - solved[:, 1], 0.0)
    return mu, candidate


def _last_digits(
    matrix: Array,
    slopes: Array,
    lost: LostDigits,
    units: Array,
    phi: float,
    mu: float,
    candidate: Array,
) -> Array | None:
    """The v of a crossing with the digits that its plain solution lost: Newton on exact sums.

    On the support, F = Gv + Gu - μ1 and f = vᵀGv - φ vanish. With x = G_SS⁻¹1 and r = G_SS⁻¹F, the
    correction is dv = dμ x - r, and dμ follows from f + 2 (Gv)ᵀdv = 0. None if it does not settle.
    """
    inside = candidate.nonzero()[0]
    block = matrix[inside][:, inside]
    v = candidate.copy()
    try:
        inverse = np.linalg.inv(block)
    except np.linalg.LinAlgError:
        return None
    for _ in range(_CORRECTIONS):
        shifts = slopes - mu * units
        # What rounding took from the shifts: the products with units, powers of two, are exact.
        back = shifts - slopes
        rounding = (slopes - (shifts - back)) - (mu * units + back)
        taken = rounding if lost.offsets is None else rounding + lost.offsets[0]
        miss = affine(v[None], matrix, shifts[None], LostDigits(offsets=taken[None]))[0, inside]
        product = affine(v[None], matrix)[0, inside]
        x, r = inverse @ units[inside], inverse @ miss
        reach = float(v[inside] @ product) - phi
        turn = (2.0 * float(product @ r) - reach) / (2.0 * float(product @ x))
        change = turn * x - r
        mu += turn
        v[inside] += change
    settled = float(np.abs(change).max()) <= _SETTLED * float(np.abs(v).max())
    return v if settled and bool((v >= 0.0).all()) else None
