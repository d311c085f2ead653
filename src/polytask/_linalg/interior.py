"""Interior point method for linear complementarity problems: the fallback that always ends."""

import numpy as np

from .solution import Array

_ITERATIONS = 30
_TO_BOUNDARY = 0.995
_EPS = float(np.finfo(np.float64).eps)


def interior_point(matrix: Array, offsets: Array) -> Array:
    """Mehrotra's predictor-corrector on z ≥ 0, y = Hz + q ≥ 0, zᵀy = 0, all problems together.

    Start z = 1, y = max(1, Hz + q) with q divided by its largest entry; 30 fixed iterations; one
    common step length for z and y, because separate ones can stagnate; the best iterate is kept.
    A ridge of rounding size (relative to the unit diagonal) keeps singular H solvable.

    Args:
        matrix: H, [unknowns, unknowns], symmetric positive semi-definite, diagonal near one.
        offsets: q, [problems, unknowns].

    Returns:
        z ≥ 0, [problems, unknowns].

    Reference:
        Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J.
        Optimization, 1992.
    """
    problems, size = offsets.shape
    scale = np.abs(offsets).max(axis=1, keepdims=True)
    scale = np.where(scale > 0.0, scale, 1.0)
    shifts = offsets / scale
    ridged = matrix + 4.0 * size * _EPS * np.eye(size)
    z = np.ones((problems, size))
    y = np.maximum(1.0, z @ matrix + shifts)
    best = np.zeros((problems, size))
    smallest = np.abs(np.minimum(0.0, shifts)).max(axis=1)
    diagonal = np.arange(size)
    for _ in range(_ITERATIONS):
        system = np.repeat(ridged[None], problems, axis=0)
        system[:, diagonal, diagonal] += y / z
        try:
            inverse = np.linalg.inv(system)
        except np.linalg.LinAlgError:
            break
        product = z @ ridged + shifts
        step_z = np.matmul(inverse, -product[:, :, None])[:, :, 0]
        step_y = -y - (y / z) * step_z
        gap = (z * y).mean(axis=1, keepdims=True)
        length = _step_length(z, step_z, y, step_y)
        predicted = ((z + length * step_z) * (y + length * step_y)).mean(axis=1, keepdims=True)
        center = (predicted / gap) ** 3 * gap
        correction = (center - step_z * step_y) / z
        step_z = np.matmul(inverse, (correction - product)[:, :, None])[:, :, 0]
        step_y = correction - y - (y / z) * step_z
        length = _TO_BOUNDARY * _step_length(z, step_z, y, step_y)
        z = z + length * step_z
        y = y + length * step_y
        with np.errstate(invalid="ignore", over="ignore"):
            violation = np.abs(np.minimum(z, z @ matrix + shifts)).max(axis=1)
        better = violation < smallest
        best[better] = z[better]
        smallest = np.where(better, violation, smallest)
        if not (np.isfinite(z).all() and np.isfinite(y).all() and (z > 0).all() and (y > 0).all()):
            break
    return best * scale


def _step_length(z: Array, step_z: Array, y: Array, step_y: Array) -> Array:
    """The longest common step in [0, 1] that keeps z and y non-negative, per problem."""
    with np.errstate(divide="ignore", invalid="ignore"):
        bound_z = np.where(step_z < 0.0, -z / step_z, np.inf).min(axis=1, keepdims=True)
        bound_y = np.where(step_y < 0.0, -y / step_y, np.inf).min(axis=1, keepdims=True)
    return np.asarray(np.minimum(1.0, np.minimum(bound_z, bound_y)))
