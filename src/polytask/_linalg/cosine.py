"""Methods that invert the cosine matrix: IMTL-G and ConFIG."""

import math

import numpy as np
import torch

from .compensated import LostDigits, affine, well_conditioned
from .scaling import equilibrate, positive_rows, restrict
from .solution import RANK_DEFICIENT, STATIONARY, Array, Solution, conclude

_CORRECTIONS = 3
_SETTLED = 1e-10


def cosine_matrix(gramian: Array) -> tuple[Array, Array]:
    """C = D⁻¹GD⁻¹ with an exact unit diagonal, and the norms D."""
    norms = np.asarray(np.sqrt(np.diagonal(gramian)))
    cosines: Array = np.clip(gramian / norms[:, None] / norms[None, :], -1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    return cosines, norms


def pseudo_solve(matrix: Array, side: Array, precision: float) -> tuple[Array, bool]:
    """M⁺b for symmetric positive semi-definite M, and whether M was rank-deficient.

    Eigenvalues up to K · precision · λ_max count as zero. That they all exceed it is found out by a
    Cholesky factorisation of the shifted matrix, which spares the eigen-decomposition.
    """
    size = len(side)
    cut = size * precision
    try:
        # The trace bounds λ_max.
        np.linalg.cholesky(matrix - cut * float(np.trace(matrix)) * np.eye(size))
        return np.asarray(np.linalg.solve(matrix, side), np.float64), False
    except np.linalg.LinAlgError:
        pass
    values, vectors = (part.numpy() for part in torch.linalg.eigh(torch.from_numpy(matrix)))
    kept = values > cut * values[-1]
    basis = vectors[:, kept]
    return basis @ ((basis.T @ side) / values[kept]), not bool(kept.all())


def equal_projections(
    gramian: Array, side: Array, precision: float
) -> tuple[Array, Array, Array, bool]:
    """Returns a = C⁺q, the cosine matrix C, the norms, and whether C was rank-deficient."""
    cosines, norms = cosine_matrix(gramian)
    solved, deficient = pseudo_solve(cosines, side, precision)
    if not deficient and not well_conditioned(cosines):
        solved = _last_digits(gramian, side, solved)
    return solved, cosines, norms, deficient


def _last_digits(gramian: Array, side: Array, solved: Array) -> Array:
    """C⁻¹q to rounding, by iterative refinement of G y = Dq with C⁻¹q = Dy.

    The entries of C and of D are rounded, which an ill-conditioned system would multiply: it is the
    equilibrated Gramian that is exact, and D is taken to twice the digits.
    """
    matrix = equilibrate(gramian).matrix
    lengths = np.sqrt(np.diagonal(matrix))
    diagonal = np.diag(lengths)
    excess = affine(lengths[None], diagonal, -np.diagonal(matrix)[None])
    below = side * -excess / (2.0 * lengths)  # √m = l + (m - l²)/2l
    target = affine(side[None], diagonal)
    lost = LostDigits(offsets=-(affine(side[None], diagonal, -target) + below))
    inverse = np.linalg.inv(matrix)
    y, miss = np.zeros_like(target), -target
    change = miss
    for _ in range(_CORRECTIONS):
        change = miss @ inverse
        y = y - change
        miss = affine(y, matrix, -target, lost)
    if not float(np.abs(change).max()) <= _SETTLED * float(np.abs(y).max()):
        return solved
    return np.asarray(y[0] * lengths)


def solve_imtl_g(gramian: Array, precision: float) -> Solution:
    """α with Σα = 1 and equal projections dᵀg_k/‖g_k‖ of the update d = Jᵀα on all gradients.

        v = D⁻¹ C⁺ 1,     α = v / Σv

    with the norms D and the cosine matrix C. For two tasks α = (‖g_2‖, ‖g_1‖) / (‖g_1‖ + ‖g_2‖).
    Where Σv vanishes to rounding, no such α exists and the weights are zero. Tasks with a zero
    gradient are left out.

    Args:
        gramian: G, [tasks, tasks].
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Liu et al., "Towards impartial multi-task learning", ICLR 2021, Eq. 6.
    """
    size = gramian.shape[0]
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size == 0:
        return conclude(np.full(size, 1.0 / size), 0.0, STATIONARY)
    weights = np.zeros(size)
    if rows.size == 2:
        cosines, norms = cosine_matrix(restrict(gramian, rows))
        weights[rows] = norms[::-1] / norms.sum()
        stationary = 1.0 + cosines[0, 1] <= 4.0 * precision
        return conclude(weights, 0.0, *([STATIONARY] if stationary else []))
    ones = np.ones(rows.size)
    small = restrict(gramian, rows)
    solved, cosines, norms, deficient = equal_projections(small, ones, precision)
    flags = [RANK_DEFICIENT] if deficient else []
    directions = solved * (norms.min() / norms)
    total = math.fsum(directions)
    # Equal projections in a rank-deficient set may not exist; then C⁺1 is their least-squares form.
    residual = 0.0 if deficient else _projection_spread(cosines, solved, ones)
    if abs(total) <= rows.size * precision * float(np.abs(directions).sum()):
        return conclude(weights, residual, STATIONARY, *flags)
    weights[rows] = directions / total
    return conclude(weights, residual, *flags)


def solve_config(gramian: Array, preference: Array, precision: float) -> Solution:
    """Weights of the conflict-free direction with projections proportional to the preference.

        a = C⁺q,   ‖v‖² = aᵀCa,   ℓ = Σ_k ‖g_k‖ (Ca)_k / ‖v‖,   w_k = ℓ a_k / (‖g_k‖ ‖v‖)

    with the cosine matrix C: the unit vector v̂ = U⁺q/‖U⁺q‖ of the paper (U: the normalised
    gradients), of length Σ_k g_kᵀv̂, without access to the gradients themselves. For two tasks and
    q = 1, w_k = (‖g_1‖ + ‖g_2‖) / (2‖g_k‖). Tasks with a zero gradient are left out.

    Args:
        gramian: G, [tasks, tasks].
        preference: q > 0, [tasks]; only its direction matters.
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Liu, Chu, Thuerey, "ConFIG: towards conflict-free training of physics informed neural
        networks", ICLR 2025, Eq. 2-4.
    """
    size = gramian.shape[0]
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size == 0:
        return conclude(np.ones(size), 0.0, STATIONARY)
    weights = np.zeros(size)
    side = preference[rows] / preference[rows].max()
    small = restrict(gramian, rows)
    solved, cosines, norms, deficient = equal_projections(small, side, precision)
    flags = [RANK_DEFICIENT] if deficient else []
    residual = 0.0 if deficient else _projection_spread(cosines, solved, side)
    projections = cosines @ solved if deficient else side
    squared = math.fsum(solved * projections)
    if squared <= rows.size * precision * float(np.abs(solved).sum()) ** 2:
        return conclude(weights, residual, STATIONARY, *flags)
    # ℓ/‖v‖ = Σ_k ‖g_k‖ (Ca)_k / ‖v‖²
    weights[rows] = float(norms @ projections) / squared * solved / norms
    return conclude(weights, residual, *flags)


def _projection_spread(cosines: Array, solved: Array, side: Array) -> float:
    """max_k |(Ca - q)_k|, relative to the largest term that was summed to get it."""
    natural = max(float(np.abs(side).max()), float(np.abs(solved).max()))
    return float(np.abs(cosines @ solved - side).max()) / natural
