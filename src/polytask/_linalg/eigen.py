"""Aligning the principal components of the gradients: Aligned-MTL."""

from typing import Literal

import numpy as np
import torch

from .graded import inverse_root
from .scaling import positive_rows, restrict
from .solution import RANK_DEFICIENT, STATIONARY, Array, Solution, conclude

_GRADED = 1e-6
"""Below this share of the largest eigenvalue an ordinary decomposition loses too many digits."""


def solve_aligned_mtl(
    gramian: Array,
    preference: Array,
    scale: Literal["min", "median", "rmse"],
    precision: float,
) -> Solution:
    """Makes the gradients orthogonal and equally long: w = √σ V Λ^(-1/2) Vᵀ p.

    G = VΛVᵀ. What is left of a task beyond the others counts as a rounding error and is left out if
    it is less than K · precision of that task's own squared norm: the error of G_ij is about
    precision · ‖g_i‖‖g_j‖, so small gradients are known as well as large ones. σ is the smallest
    ("min"), the lower median ("median") or the mean ("rmse") of the eigenvalues that are kept.

    Args:
        gramian: G, [tasks, tasks].
        preference: p, [tasks].
        scale: Which σ.
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Senushkin et al., "Independent component alignment for multi-task learning", CVPR 2023,
        Eq. 15 and Algorithm 1.
    """
    size = gramian.shape[0]
    trace = float(np.trace(gramian))
    if trace <= 0.0:
        return conclude(preference.copy(), 0.0, STATIONARY)
    # Divided by a power of two, which loses nothing.
    relative = np.ldexp(gramian, -int(np.frexp(trace)[1]))
    values, vectors = (part.numpy() for part in torch.linalg.eigh(torch.from_numpy(relative)))
    if values[0] > _GRADED * values[-1]:
        weights = vectors @ ((vectors.T @ preference) / np.sqrt(values))
        residual = float(np.abs(relative @ vectors - vectors * values).max()) / float(values[-1])
    else:
        weights = np.zeros(size)
        rows = np.flatnonzero(positive_rows(relative))
        found = inverse_root(restrict(relative, rows), preference[rows], precision)
        weights[rows], values, residual = found.product, found.values, found.residual
    if scale == "min":
        sigma = float(values[0])
    elif scale == "median":
        sigma = float(values[(len(values) - 1) // 2])
    else:
        sigma = float(values.mean())
    weights *= np.sqrt(sigma)
    return conclude(weights, residual, *([RANK_DEFICIENT] if len(values) < size else []))
