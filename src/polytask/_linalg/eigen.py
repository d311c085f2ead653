"""Aligning the principal components of the gradients: Aligned-MTL."""

from typing import Literal

import numpy as np
import torch

from .solution import RANK_DEFICIENT, STATIONARY, Array, Solution, conclude


def solve_aligned_mtl(
    gramian: Array,
    preference: Array,
    scale: Literal["min", "median", "rmse"],
    precision: float,
) -> Solution:
    """Makes the gradients orthogonal and equally long: w = √σ V Λ^(-1/2) Vᵀ p.

    G = VΛVᵀ. Eigenvalues up to K · precision · λ_max are rounding errors and are left out. σ is the
    smallest ("min"), the lower median ("median") or the mean ("rmse") of the others.

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
    relative = gramian / trace
    values, vectors = (part.numpy() for part in torch.linalg.eigh(torch.from_numpy(relative)))
    first = int(np.searchsorted(values, size * precision * values[-1], side="right"))
    kept, basis = values[first:], vectors[:, first:]
    if scale == "min":
        sigma = float(kept[0])
    elif scale == "median":
        sigma = float(kept[(len(kept) - 1) // 2])
    else:
        sigma = float(kept.mean())
    weights = basis @ (np.sqrt(sigma / kept) * (basis.T @ preference))
    # How well the decomposition reproduces G: its natural, backward error.
    residual = float(np.abs(relative @ basis - basis * kept).max()) / float(values[-1])
    return conclude(weights, residual, *([RANK_DEFICIENT] if first else []))
