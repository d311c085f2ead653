"""The linear complementarity problem: one kernel for four aggregation methods."""

from typing import NamedTuple

import numpy as np

from .compensated import NOTHING_LOST, LostDigits, well_conditioned
from .interior import interior_point
from .pivoting import enumerate_supports, pivot, settle
from .solution import Array

_ENUMERATE_UP_TO = 8
_ACCEPT = 1e-10


class LCPSolution(NamedTuple):
    """Solutions, one per row, and their residuals (see `lcp_residual`)."""

    solutions: Array
    residuals: Array


def lcp_residual(matrix: Array, offsets: Array, solutions: Array) -> Array:
    """max_k |min(z_k, (Hz + q)_k)| / max_k |q_k| of every row; 0 where q = 0."""
    slack = np.minimum(solutions, solutions @ matrix + offsets)
    scale = np.abs(offsets).max(axis=1)
    violation = np.abs(slack).max(axis=1)
    undefined = np.where(violation > 0.0, np.inf, 0.0)
    return np.asarray(np.divide(violation, scale, out=undefined, where=scale > 0.0))


def solve_lcp(
    matrix: Array,
    offsets: Array,
    support: "np.ndarray[tuple[int, int], np.dtype[np.bool_]] | None" = None,
    lost: LostDigits = NOTHING_LOST,
    sharpen: bool | None = None,
) -> LCPSolution:
    """Finds z ≥ 0 with y = Hz + q ≥ 0 and zᵀy = 0, for many q at once.

    That is the set of optimality conditions of min ½zᵀHz + qᵀz over z ≥ 0. Three methods in turn,
    each only for the rows that the one before left with a residual above 1e-10:

    1. block principal pivoting, at most 12 rounds: nearly every input ends here, exactly;
    2. up to 8 unknowns, enumeration of all supports: exact, whatever the rank of H;
       above, Mehrotra's interior point, then one exact solve on the support that it found.

    The best of the solutions is kept; its residual tells whether it is good enough. If H is
    ill-conditioned, a solution may satisfy the conditions to rounding and still be wrong in half
    of its digits: then `settle` finds the others.

    Args:
        matrix: H, [unknowns, unknowns], symmetric and positive semi-definite, rows of similar size
            (use `equilibrate`; row scaling does not change the problem).
        offsets: q, [problems, unknowns], one problem per row.
        support: First guess of the entries with z > 0, [problems, unknowns]; default: those with
            q < 0.
        lost: Digits of H and q below their last ones, if these are rounded sums themselves.
        sharpen: Whether to look for digits that plain arithmetic loses; None: if H is
            ill-conditioned.

    Example:
        >>> import numpy as np
        >>> solve_lcp(np.array([[2.0, -1.0], [-1.0, 2.0]]), np.array([[-1.0, 3.0]])).solutions
        array([[0.5, 0. ]])

    Reference:
        Cottle, Pang, Stone, "The Linear Complementarity Problem", SIAM, 2009.
    """
    solutions = pivot(matrix, offsets, support)
    residuals = lcp_residual(matrix, offsets, solutions)
    left = np.flatnonzero(~(residuals <= _ACCEPT))
    if left.size:
        solve = enumerate_supports if matrix.shape[0] <= _ENUMERATE_UP_TO else interior_point
        _keep_better(matrix, offsets, solutions, residuals, left, solve(matrix, offsets[left]))
        left = left[~(residuals[left] <= _ACCEPT)]
    if left.size:
        # The support that the best solution suggests, solved exactly: removes what is left of the
        # barrier of the interior point.
        slack = solutions[left] @ matrix + offsets[left]
        polished = pivot(matrix, offsets[left], support=solutions[left] > slack)
        _keep_better(matrix, offsets, solutions, residuals, left, polished)
    solved = np.flatnonzero((residuals <= _ACCEPT) & solutions.any(axis=1))
    if sharpen is None:
        sharpen = bool(solved.size) and not well_conditioned(matrix)
    if solved.size and sharpen:
        sharper, sure = settle(matrix, offsets[solved], solutions[solved], lost.of(solved))
        solutions[solved[sure]] = sharper[sure]
        residuals[solved[sure]] = lcp_residual(matrix, offsets[solved[sure]], sharper[sure])
    return LCPSolution(solutions, residuals)


def _keep_better(
    matrix: Array,
    offsets: Array,
    solutions: Array,
    residuals: Array,
    rows: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    candidates: Array,
) -> None:
    """Replaces, in place, the solutions of `rows` that a candidate improves."""
    found = lcp_residual(matrix, offsets[rows], candidates)
    better = found < residuals[rows]
    solutions[rows[better]] = candidates[better]
    residuals[rows[better]] = found[better]
