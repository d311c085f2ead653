"""Solving a linear complementarity problem by its support."""

import itertools

import numpy as np
import torch

from .compensated import LostDigits, affine
from .solution import Array

_ROUNDS = 12
_PATIENCE = 3
_SETTLING = 4
_CORRECTIONS = 3
_SETTLED = 1e-10
_EPS = float(np.finfo(np.float64).eps)


def pivot(
    matrix: Array,
    offsets: Array,
    support: "np.ndarray[tuple[int, int], np.dtype[np.bool_]] | None" = None,
) -> Array:
    """Block principal pivoting, all problems together.

    On a guessed support F, z_F = -H_FF⁻¹ q_F and z = 0 elsewhere. V holds the entries of F with
    z < 0 and the others with y = Hz + q < 0; all of V changes sides. If |V| has not reached a new
    minimum for 3 rounds, only its largest index does, which ends for every positive definite H.
    Capped at 12 rounds: rank-deficient problems are left to the fallbacks of `solve_lcp`.

    Args:
        matrix: H, [unknowns, unknowns].
        offsets: q, [problems, unknowns].
        support: First guess of F; default: the entries with q < 0.

    Returns:
        z clipped at zero, [problems, unknowns]; finite, but a solution only where it settled.

    Reference:
        Portugal, Júdice, Vicente, "A comparison of block pivoting and interior-point algorithms for
        linear least squares problems with nonnegative variables", Math. of Computation, 1994.
    """
    problems, size = offsets.shape
    if problems == 1:
        guess = offsets[0] < 0.0 if support is None else support[0]
        return _pivot_one(matrix, offsets[0], guess)[None]
    solutions = np.zeros((problems, size))
    inside = offsets < 0.0 if support is None else support.copy()
    active = np.flatnonzero(inside.any(axis=1))
    fewest = np.full(problems, size + 1)
    patience = np.full(problems, _PATIENCE)
    diagonal = np.arange(size)
    noise = 8.0 * size * _EPS
    for _ in range(_ROUNDS):
        if not active.size:
            break
        chosen = inside[active]
        shifts = offsets[active]
        system = np.where(chosen[:, :, None] & chosen[:, None, :], matrix, 0.0)
        system[:, diagonal, diagonal] += ~chosen
        try:
            found = np.linalg.solve(system, np.where(chosen, -shifts, 0.0)[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:  # an exactly singular support: not one for pivoting
            break
        largest = np.abs(found).max(axis=1, keepdims=True)
        slack = found @ matrix + shifts
        scale = np.maximum(np.abs(shifts).max(axis=1, keepdims=True), largest)
        # Rounding errors must not make an entry change sides for ever.
        violated = np.where(chosen, found < -noise * largest, slack < -noise * scale)
        count = violated.sum(axis=1)
        solutions[active] = np.where(chosen, np.maximum(found, 0.0), 0.0)
        improved = count < fewest[active]
        fewest[active] = np.minimum(count, fewest[active])
        patience[active] = np.where(improved, _PATIENCE, patience[active] - 1)
        single = patience[active] < 0
        if single.any():
            last = size - 1 - np.argmax(violated[:, ::-1], axis=1)
            only = np.zeros_like(violated)
            only[np.arange(active.size), last] = True
            violated = np.where(single[:, None], violated & only, violated)
        inside[active] = chosen ^ violated
        active = active[count > 0]
    return np.where(np.isfinite(solutions), solutions, 0.0)


def _pivot_one(
    matrix: Array, offset: Array, support: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
) -> Array:
    """`pivot` for one problem: the same rounds on systems no larger than the support."""
    size = len(offset)
    solution = np.zeros(size)
    inside = support.copy()
    fewest, patience = size + 1, _PATIENCE
    noise = 8.0 * size * _EPS
    bound = float(np.abs(offset).max())
    for _ in range(_ROUNDS):
        chosen = inside.nonzero()[0]
        found = np.zeros(size)
        if chosen.size:
            block = matrix[chosen]
            try:
                part = np.linalg.solve(block[:, chosen], -offset[chosen])
            except np.linalg.LinAlgError:  # an exactly singular support: not one for pivoting
                break
            found[chosen] = part
            slack = part @ block + offset
            largest = float(np.abs(part).max())
        else:
            slack, largest = offset, 0.0
        # Rounding errors must not make an entry change sides for ever.
        limit = np.where(inside, -noise * largest, -noise * max(bound, largest))
        violated = (np.where(inside, found, slack) < limit).nonzero()[0]
        solution = np.maximum(found, 0.0)
        if not violated.size:
            break
        if violated.size < fewest:
            fewest, patience = violated.size, _PATIENCE
        else:
            patience -= 1
        if patience < 0:
            violated = violated[-1:]
        inside[violated] ^= True
    return np.where(np.isfinite(solution), solution, 0.0)


def enumerate_supports(matrix: Array, offsets: Array) -> Array:
    """Tries all 2^unknowns supports and keeps the one with the smallest violation.

    Exact also where H is singular: a positive semi-definite problem that has a solution has one
    whose support is linearly independent. Meant for at most 8 unknowns (256 systems).

    Args:
        matrix: H, [unknowns, unknowns].
        offsets: q, [problems, unknowns].

    Returns:
        z ≥ 0, [problems, unknowns].
    """
    size = matrix.shape[0]
    supports = np.array(list(itertools.product((False, True), repeat=size)))
    systems = np.where(supports[:, :, None] & supports[:, None, :], matrix, 0.0)
    diagonal = np.arange(size)
    systems[:, diagonal, diagonal] += ~supports
    sides = np.where(supports[:, :, None], -offsets.T, 0.0)
    # torch's solve_ex, unlike NumPy's solve, goes on past a singular system.
    found, _ = torch.linalg.solve_ex(torch.from_numpy(systems), torch.from_numpy(sides))
    candidates = np.maximum(np.swapaxes(found.numpy(), 1, 2), 0.0)
    candidates = np.where(np.isfinite(candidates), candidates, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        slack = np.minimum(candidates, candidates @ matrix + offsets)
    violation = np.abs(slack).max(axis=2)
    best = np.argmin(np.where(np.isfinite(violation), violation, np.inf), axis=0)
    return np.asarray(candidates[best, np.arange(offsets.shape[0])])


def settle(
    matrix: Array, offsets: Array, solutions: Array, lost: LostDigits
) -> "tuple[Array, np.ndarray[tuple[int], np.dtype[np.bool_]]]":
    """Solutions of ill-conditioned problems to the last digit, from some with fewer right ones.

    Plain arithmetic loses as many digits of z as the condition of H has; here every system is
    solved with iterative refinement, and slacks are judged by sums that do not lose any. Supports
    are exchanged as in `pivot` if that shows a wrong sign.

    Args:
        matrix: H, [unknowns, unknowns].
        offsets: q, [problems, unknowns].
        solutions: z of `pivot` or another method, [problems, unknowns].
        lost: Digits of H and q below their last ones.

    Returns:
        z ≥ 0, and for which problems the refinement converged on a support with right signs.

    Reference:
        Higham, "Accuracy and Stability of Numerical Algorithms", 2002, chapter 12.
    """
    inside = solutions > 0.0
    refined = solutions.copy()
    sure = np.zeros(len(solutions), dtype=bool)
    active = np.arange(len(solutions))
    diagonal = np.arange(matrix.shape[0])
    for _ in range(_SETTLING):
        chosen = inside[active]
        system = np.where(chosen[:, :, None] & chosen[:, None, :], matrix, 0.0)
        system[:, diagonal, diagonal] += ~chosen
        found = np.zeros_like(offsets[active])
        slack = offsets[active]
        try:
            inverse = np.linalg.inv(system)
        except np.linalg.LinAlgError:  # an exactly singular support among them
            break
        for _ in range(_CORRECTIONS):
            change = np.matmul(inverse, np.where(chosen, -slack, 0.0)[:, :, None])[:, :, 0]
            found = np.where(chosen, found + change, 0.0)
            slack = affine(found, matrix, offsets[active], lost.of(active))
        largest = np.abs(found).max(axis=1, keepdims=True)
        scale = np.maximum(np.abs(offsets[active]).max(axis=1, keepdims=True), largest)
        violated = np.where(chosen, found < 0.0, slack < -_EPS * scale)
        converged = np.abs(change).max(axis=1) <= _SETTLED * largest[:, 0]
        done = converged & ~violated.any(axis=1)
        refined[active[done]] = np.maximum(found[done], 0.0)
        sure[active[done]] = True
        inside[active] = chosen ^ violated
        active = active[~done & converged]
        if not active.size:
            break
    return refined, sure
