"""Pairwise gradient surgery on coefficients: PCGrad and GradVac."""

import numpy as np

from .scaling import equilibrate
from .solution import Array

VACCINE_LIMIT = 1.0 - 1e-6
"""Largest target cosine of GradVac: making two gradients parallel needs an infinite weight."""


def pcgrad_weights(
    gramian: Array, order: "np.ndarray[tuple[int, int], np.dtype[np.int64]]"
) -> Array:
    """Weights of Σ_i g^(i), each g^(i) being g_i freed of its conflicts, one after another.

    g^(i) starts as g_i; for every j of its row of `order`, with the original g_j: if its inner
    product with g_j is negative, its component along g_j is removed. In coefficients (g = Jᵀc):
    s = (Gc)_j; if s < 0, c_j ← c_j - s/G_jj. All tasks advance together: K - 1 steps on a K x K
    matrix, whatever the number of parameters. For two tasks w = (1 + max(0, -G12/G11),
    1 + max(0, -G12/G22)).

    Args:
        gramian: G, [tasks, tasks], positive diagonal.
        order: [tasks, tasks - 1]; row i is a permutation of the other tasks.

    Reference:
        Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020, Algorithm 1.
    """
    size = gramian.shape[0]
    if size == 2:
        inner = min(0.0, float(gramian[0, 1]))
        return np.array([1.0 - inner / float(gramian[0, 0]), 1.0 - inner / float(gramian[1, 1])])
    matrix, exponents, _ = equilibrate(gramian)
    coefficients = np.eye(size)
    slopes = matrix.copy()  # row i: slopes of g^(i) along every gradient
    diagonal = np.diagonal(matrix)
    every = np.arange(size)
    for other in order.T:
        step = np.maximum(0.0, -slopes[every, other]) / diagonal[other]
        coefficients[every, other] += step
        slopes += step[:, None] * matrix[other]
    return np.asarray(np.ldexp(coefficients, exponents[:, None] - exponents[None, :]).sum(axis=0))


def vaccine_weights(
    gramian: Array,
    targets: Array,
    order: "np.ndarray[tuple[int, int], np.dtype[np.int64]]",
    decay: float,
) -> tuple[Array, Array]:
    """Weights of GradVac, and its target cosines after the call.

    As PCGrad, but g^(i) is moved towards g_j until their cosine φ reaches the moving average φ̂_ij
    of the cosines seen so far, instead of zero:

        φ = cos(g^(i), g_j);
        if φ < φ̂_ij:   c_j += ‖g^(i)‖ (φ̂_ij √(1 - φ²) - φ √(1 - φ̂_ij²)) / (‖g_j‖ √(1 - φ̂_ij²));
        always:         φ̂_ij ← (1 - β) φ̂_ij + β φ.

    Args:
        gramian: G, [tasks, tasks], positive diagonal.
        targets: φ̂, [tasks, tasks]; zero before the first call, which then equals PCGrad.
        order: [tasks, tasks - 1]; row i is a permutation of the other tasks.
        decay: β, the weight of the newest cosine, 0 ≤ β ≤ 1.

    Reference:
        Wang, Tsvetkov, Firat, Cao, "Gradient vaccine", ICLR 2021, Eq. 5 and Algorithm 1.
    """
    size = gramian.shape[0]
    matrix, exponents, _ = equilibrate(gramian)
    coefficients = np.eye(size)
    slopes = matrix.copy()
    norms = np.sqrt(np.diagonal(matrix))
    every = np.arange(size)
    updated = targets.copy()
    for other in order.T:
        squared = (slopes * coefficients).sum(axis=1)
        length = np.sqrt(np.maximum(squared, 0.0))
        # A g^(i) that has vanished has no cosine: it stays, and so does its target.
        alive = length > 0.0
        size_j = norms[other]
        raw = slopes[every, other] / np.where(alive, length * size_j, 1.0)
        cosine = np.clip(raw, -1.0, 1.0)
        target = np.clip(updated[every, other], -1.0, VACCINE_LIMIT)
        room = np.sqrt(1.0 - target * target)
        wanted = target * np.sqrt(1.0 - cosine * cosine) - cosine * room
        needed = alive & (cosine < target)
        step = np.where(needed, length * wanted / (size_j * np.where(needed, room, 1.0)), 0.0)
        coefficients[every, other] += step
        slopes += step[:, None] * matrix[other]
        mixed = (1.0 - decay) * updated[every, other] + decay * cosine
        updated[every, other] = np.where(alive, mixed, updated[every, other])
    weights = np.ldexp(coefficients, exponents[:, None] - exponents[None, :]).sum(axis=0)
    return np.asarray(weights), updated
