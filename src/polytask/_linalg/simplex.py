"""Euclidean projection on the probability simplex."""

import numpy as np

from .solution import Array


def project_simplex(point: Array) -> Array:
    """The point of {w ≥ 0, Σw = 1} nearest to `point`.

    Π(x) = max(x - τ, 0). With x sorted in decreasing order and c_j = (Σ_{i≤j} x_i - 1)/j, τ is the
    c_j of the largest j with x_j > c_j. Sorted once; no iteration.

    Args:
        point: Any finite vector.

    Example:
        >>> import numpy as np
        >>> project_simplex(np.array([0.9, 0.4, -2.0]))
        array([0.75, 0.25, 0.  ])

    Reference:
        Held, Wolfe, Crowder, "Validation of subgradient optimization", Math. Programming, 1974.
    """
    # Only differences matter; measured from the largest entry, x_1 - c_1 = 1 holds exactly.
    shifted = point - point.max()
    descending = np.sort(shifted)[::-1]
    candidates = (np.cumsum(descending) - 1.0) / np.arange(1, len(point) + 1)
    last = int(np.flatnonzero(descending > candidates)[-1])
    return np.asarray(np.maximum(shifted - candidates[last], 0.0))
