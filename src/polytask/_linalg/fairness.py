"""Nash bargaining and alpha-fairness: damped Newton on a strictly convex problem."""

import math
from fractions import Fraction

import numpy as np

from .compensated import affine
from .scaling import equilibrate, positive_rows, restrict
from .solution import ILL_CONDITIONED, STATIONARY, TOLERANCE, Array, Solution, conclude

_CAP = 100
_CONVERGED = 1e-13
_LINE_SEARCHES = 40
_POLISH = 3
_QUADRATIC = 0.1
_EXACT_FROM = 1e-13
_EXACT_STEPS = 2
_CANCELLED = 1e-2
_PAIR_CAP = 12
_PAIR_DIGITS = 1e-2
_PAIR_STEP = 1e-13
_EPS = float(np.finfo(np.float64).eps)


def solve_nash(gramian: Array, precision: float) -> Solution:
    """The α > 0 with Gα = 1/α (element-wise): the Nash bargaining solution.

    α = argmin ½αᵀGα - Σ log α_k. For two tasks α_k = 1/(‖g_k‖ √(1 + cos)). The squared length of
    the update, αᵀGα, is the number of tasks. At a Pareto-stationary point no solution exists: the
    weights are zero, and flagged.

    Args:
        gramian: G, [tasks, tasks].
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Navon et al., "Multi-task learning as a bargaining game", ICML 2022, Claim 3.1.
    """
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size != 2:
        return solve_fair(gramian, 1.0, precision)
    i, j = (int(row) for row in rows)
    g11, g22, g12 = float(gramian[i, i]), float(gramian[j, j]), float(gramian[i, j])
    norms = math.sqrt(g11), math.sqrt(g22)
    both = norms[0] * norms[1]
    opening = (both + g12) / both  # 1 + cos
    if opening < _CANCELLED:  # the same from the determinant, which rational numbers know exactly
        area = float(Fraction(g11) * Fraction(g22) - Fraction(g12) ** 2)
        opening = area / (both - g12) / both
    weights = np.zeros(gramian.shape[0])
    # ‖Jᵀα‖² = 2 against (Σ α_k ‖g_k‖)² = 4 / opening.
    if opening <= 4.0 * precision:
        return conclude(weights, 0.0, STATIONARY)
    weights[i] = 1.0 / (norms[0] * math.sqrt(opening))
    weights[j] = 1.0 / (norms[1] * math.sqrt(opening))
    return conclude(weights, 0.0)


def solve_fair(gramian: Array, alpha: float, precision: float) -> Solution:
    """The w > 0 with Gw = w^(-1/a) (element-wise): the a-fair update.

    w = argmin ½wᵀGw - Σ ψ(w_k) with ψ'(w) = w^(-1/a), a strictly convex problem. Newton's method in
    the scaled variables w_k ∝ 2^(-e_k) x_k of the equilibrated Gramian G̃, where the equation reads

        x_k^(1/a) (G̃x)_k = τ_k,     τ_k = 2^(e_k (1/a - 1)),

    every step with an exact line search (the slope along the step changes its sign once), followed
    by the exact best multiple of w. Converged when max_k |w_k^(1/a) (Gw)_k - 1| exceeds its own
    rounding error by at most 1e-13; at most 100 steps. If that rounding error is larger, the last
    digits come from sums that lose none, and the residual is the last relative change of a weight.
    a = 1 is Nash bargaining; a → ∞ tends to MGDA. At a Pareto-stationary point no solution exists:
    the weights are zero, and flagged.

    The raw miss |w_k^(1/a) (Gw)_k - 1| is no measure of the weights: where (Gw)_k is a small
    difference of large terms, rounding one weight in its last digit changes it by more than 1e-8.
    Such solutions are flagged `ILL_CONDITIONED`; their weights are as right as the others.

    Args:
        gramian: G, [tasks, tasks].
        alpha: a > 0.
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Ban, Ji, "Fair resource allocation in multi-task learning", ICML 2024, Eq. 5.
    """
    weights = np.zeros(gramian.shape[0])
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size == 0:
        return conclude(np.ones(gramian.shape[0]), 0.0, STATIONARY)
    matrix, exponents, offset = equilibrate(restrict(gramian, rows))
    # log τ, with the largest gradient as the unit.
    targets = np.multiply(exponents, (1.0 / alpha - 1.0) * math.log(2.0), dtype=np.float64)
    pair = _two_tasks(matrix, targets, 1.0 / alpha) if rows.size == 2 else None
    if pair is not None:
        found, residual, flags = pair
    else:
        found, residual, flags = _newton(matrix, targets, alpha, precision)
    if STATIONARY in flags:
        return conclude(weights, 0.0, STATIONARY)
    # G → 4^offset G divides w by 2^(2 offset a / (1 + a)).
    shift = -2.0 * offset * alpha / (1.0 + alpha)
    whole = int(np.floor(shift))
    weights[rows] = np.ldexp(found * 2.0 ** (shift - whole), whole - exponents)
    return conclude(weights, residual, *flags)


def _two_tasks(
    matrix: Array, targets: Array, power: float
) -> tuple[Array, float, frozenset[str]] | None:
    """Two tasks, on plain numbers; None where digits are lost or Newton's method wanders off.

    With x_2 = r x_1 and p = 1/a the two equations divide to τ_1 r^p (h_12 + h_22 r) =
    τ_2 (h_11 + h_12 r): one root among the r > 0 with positive brackets, found on the logarithms of
    both sides as a function of log r, whose difference increases. Then x_1 from the first equation.
    """
    h11, h12, h22 = float(matrix[0, 0]), float(matrix[0, 1]), float(matrix[1, 1])
    one, two = float(targets[0]), float(targets[1])
    log_r = ((two - math.log(h22)) - (one - math.log(h11))) / (1.0 + power)
    for _ in range(_PAIR_CAP):
        r = math.exp(log_r)
        first, second = h11 + h12 * r, h12 + h22 * r
        if min(first, second * r, second) <= _PAIR_DIGITS * max(h11, h22 * r):
            return None
        miss = (one - two) + power * log_r + math.log(second / first)
        step = miss / (power + h22 * r / second - h12 * r / first)
        log_r -= step
        if abs(step) <= _PAIR_STEP * (1.0 + abs(log_r)):
            r = math.exp(log_r)
            x = math.exp((one - math.log(h11 + h12 * r)) / (1.0 + power))
            return np.array([x, r * x]), abs(step), frozenset()
    return None


def _newton(
    matrix: Array, targets: Array, alpha: float, precision: float
) -> tuple[Array, float, frozenset[str]]:
    """The x > 0 with x^(1/a) (Hx) = e^targets, its residual, and flags."""
    power = 1.0 / alpha
    diagonal = np.diagonal(matrix)
    size = len(diagonal)
    # The solution for orthogonal gradients.
    x = np.exp((targets - np.log(diagonal)) / (1.0 + power))
    best, smallest, limit, lost, polish = x, np.inf, np.inf, 0.0, _POLISH
    absolute, rounding = np.abs(matrix), 4.0 * size * _EPS
    identity = power * np.eye(size)
    noise = size * precision
    for _ in range(_CAP):
        product = matrix @ x
        squared = float(x @ product)
        natural = float(x @ np.sqrt(diagonal))
        if squared <= noise * natural * natural:
            return x, 0.0, frozenset({STATIONARY})
        # The best multiple of x, in closed form.
        right = np.exp(targets - power * np.log(x))
        multiple = (float(x @ right) / squared) ** (1.0 / (1.0 + power))
        x, product, right = x * multiple, product * multiple, right * multiple**-power
        miss = product / right - 1.0
        # Where (Hx)_k is a small difference of large terms, its last digits are rounding errors.
        floor = rounding * (absolute @ x) / right
        beyond = float(np.maximum(np.abs(miss) - floor, 0.0).max())
        largest = float(np.abs(miss).max())
        if beyond < smallest or (beyond == smallest and largest < limit):
            best, smallest, limit, lost = x, beyond, largest, float(floor.max())
        if beyond <= _CONVERGED:
            polish -= 1
            if largest <= _CONVERGED or polish < 0:
                break
        # In units s_k = √(x_k / right_k) the barrier's part of the Hessian is (1/a) times one.
        unit = np.sqrt(x / right)
        system = unit[:, None] * matrix * unit[None, :] + identity
        try:
            step = unit * np.linalg.solve(system, -miss * right * unit)
        except np.linalg.LinAlgError:
            break
        if largest < _QUADRATIC:
            x = x + step
        else:
            x = _line_search(x, step, product, matrix @ step, targets, power)
    if smallest <= _CONVERGED and lost > _EXACT_FROM:
        best, smallest, limit = _last_digits(matrix, targets, power, best)
    return best, smallest, frozenset({ILL_CONDITIONED} if limit > TOLERANCE else {})


def _last_digits(
    matrix: Array, targets: Array, power: float, x: Array
) -> tuple[Array, float, float]:
    """Returns x correct to rounding, its last relative correction, and the largest miss left.

    The problem is well-conditioned in its misses: a relative miss ε moves no x_k by more than a·ε
    in the metric of the Hessian. Digits are lost only when Hx is added up, so Newton's method on
    the exact sum finds them again. The miss of the result may still be large, where a change of x_k
    in its last digit is multiplied by a large H_kk x_k / (Hx)_k; no double does better.
    """
    for _ in range(_EXACT_STEPS):
        right = np.exp(targets - power * np.log(x))
        miss = affine(x[None], matrix, -right[None])[0]
        unit = np.sqrt(x / right)
        system = unit[:, None] * matrix * unit[None, :] + power * np.eye(len(x))
        relative = np.linalg.solve(system, -miss * unit) * unit / x
        x = x * (1.0 + relative)
    left = np.abs(affine(x[None], matrix)[0] / np.exp(targets - power * np.log(x)) - 1.0)
    return x, float(np.abs(relative).max()), float(left.max())


def _line_search(
    x: Array, step: Array, product: Array, change: Array, targets: Array, power: float
) -> Array:
    """The point x + t·step, x + t·step > 0, at which the slope along the step nearly vanishes."""
    ratio = float((step / x).min())
    limit = 0.99 / -ratio if ratio < 0.0 else 1e6
    linear, quadratic = float(step @ product), float(step @ change)

    def slope(t: float) -> float:
        return linear + t * quadratic - float(step @ np.exp(targets - power * np.log(x + t * step)))

    start = slope(0.0)
    low, t = 0.0, min(1.0, limit)
    high = limit
    for _ in range(_LINE_SEARCHES):
        value = slope(t)
        if abs(value) <= 0.3 * abs(start):
            break
        if value < 0.0:  # the slope increases with t, hence the minimum lies further
            low = t
            if t >= high:
                break
            t = min(4.0 * t, high) if high == limit else 0.5 * (low + high)
        else:
            high = t
            t = 0.5 * (low + high)
    return x + t * step
