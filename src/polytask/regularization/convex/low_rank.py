"""The nuclear norm: tasks share a few directions."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from polytask._checks import at_least

from .penalty import ConvexPenalty, shrink
from .problem import Array


@final
@dataclass(frozen=True)
class NuclearNorm(ConvexPenalty):
    """λ Σ_j σ_j(W), the sum of the singular values.

    Args:
        strength: λ, at least 0.

    Reference:
        Argyriou, Evgeniou & Pontil, Convex Multi-Task Feature Learning, Machine Learning, 2008.
        https://doi.org/10.1007/s10994-007-5040-8
    """

    strength: float
    name: ClassVar[str] = "nuclear"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(self, weights: Array) -> float:
        """The penalty."""
        return self.strength * float(np.linalg.svd(weights, compute_uv=False).sum())

    def prox(self, weights: Array, step: float) -> Array:
        """Every singular value is reduced by step λ.

        Computed from the eigenvectors of the smaller of WᵀW and WWᵀ: values next to 0, which these
        know less exactly, are below the threshold.
        """
        tall = weights.shape[0] >= weights.shape[1]
        small = weights.T @ weights if tall else weights @ weights.T
        squares, vectors = np.linalg.eigh(small)
        factors = shrink(np.sqrt(squares.clip(0.0)), step * self.strength)
        kept = factors > 0
        basis = vectors[:, kept]
        shrunk = (basis * factors[kept]) @ basis.T
        return np.asarray(weights @ shrunk if tall else shrunk @ weights)

    def dual(self, gradient: Array) -> float:
        """Largest singular value."""
        return float(np.linalg.svd(gradient, compute_uv=False)[0])
