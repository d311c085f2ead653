"""What every solver returns, and the names of its flags."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

TOLERANCE = 1e-8
"""Largest relative residual of a solution that is not flagged `NOT_CONVERGED`."""

NOT_CONVERGED = "not-converged"
"""The best weights found do not meet `TOLERANCE`; they are finite."""

STATIONARY = "stationary"
"""Some convex combination of the gradients vanishes to rounding: the update is zero."""

RANK_DEFICIENT = "rank-deficient"
"""Directions below the rounding error of the Gramian were left out of the solve."""

ILL_CONDITIONED = "ill-conditioned"
"""The optimality conditions hold to rounding, but rounding exceeds `TOLERANCE` in some of them."""

NON_FINITE = "non-finite"
"""The input holds NaN or infinity; the weights are NaN, so that the step can be skipped."""


class Solution(NamedTuple):
    """Weights of the tasks, and how far to trust them.

    Attributes:
        weights: One number per task, always finite for finite input.
        residual: Violation of the optimality conditions, relative to their own natural scale, so
            that it does not change when gradients are multiplied by constants.
        flags: Any of the names above; empty for an ordinary solve.
    """

    weights: Array
    residual: float
    flags: frozenset[str]


def conclude(weights: Array, residual: float, *flags: str) -> Solution:
    """A `Solution`, flagged `NOT_CONVERGED` if its residual exceeds `TOLERANCE` (or is NaN)."""
    names = set(flags)
    if not residual <= TOLERANCE:
        names.add(NOT_CONVERGED)
    return Solution(weights, residual, frozenset(names))
