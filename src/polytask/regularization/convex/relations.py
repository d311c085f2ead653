"""Quadratic penalties that pull the weights of tasks towards each other."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import numpy as np

from polytask._checks import at_least, require

from .penalty import ConvexPenalty
from .problem import Array


@final
@dataclass(frozen=True)
class MeanRegularised(ConvexPenalty):
    """(λ/2) Σ_t ‖w_t − w̄‖² + (λ ρ/2) Σ_t ‖w_t‖²: tasks are variations of their mean.

    Args:
        strength: λ, at least 0.
        ridge: ρ, at least 0: how much the weights themselves are shrunk.
        families: Per output, which mean it belongs to; empty: one mean for all.

    Reference:
        Evgeniou & Pontil, Regularized Multi-Task Learning, KDD 2004.
        https://doi.org/10.1145/1014052.1014067
    """

    strength: float
    ridge: float = 0.0
    families: tuple[int, ...] = ()
    name: ClassVar[str] = "mean-regularised"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        at_least("ridge", self.ridge, 0)

    def means(self, weights: Array) -> Array:
        """The mean of its family, beside every output."""
        if not self.families:
            return np.broadcast_to(weights.mean(1, keepdims=True), weights.shape)
        member = np.array(self.families)
        result = np.empty_like(weights)
        for family in set(self.families):
            chosen = member == family
            result[:, chosen] = weights[:, chosen].mean(1, keepdims=True)
        return result

    def value(self, weights: Array) -> float:
        """Both terms."""
        apart = float(((weights - self.means(weights)) ** 2).sum())
        return 0.5 * self.strength * (apart + self.ridge * float((weights**2).sum()))

    def prox(self, weights: Array, step: float) -> Array:
        """The mean is divided by 1 + step λ ρ, deviations by 1 + step λ (1 + ρ)."""
        mean = self.means(weights)
        push = step * self.strength
        apart = (weights - mean) / (1.0 + push * (1.0 + self.ridge))
        return np.asarray(mean / (1.0 + push * self.ridge) + apart)


@final
@dataclass(frozen=True, eq=False)
class GraphLaplacian(ConvexPenalty):
    """(λ/2) tr(W L Wᵀ): related tasks have similar weights.

    Args:
        strength: λ, at least 0.
        laplacian: L, ``[outputs, outputs]``, symmetric and positive semi-definite.

    Reference:
        Evgeniou, Micchelli & Pontil, Learning Multiple Tasks with Kernel Methods, JMLR 2005.
        https://jmlr.org/papers/v6/evgeniou05a.html
    """

    strength: float
    laplacian: Array
    name: ClassVar[str] = "graph"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        matrix = self.laplacian
        require(
            matrix.ndim == 2 and bool(np.allclose(matrix, matrix.T)),
            "laplacian",
            "be a symmetric matrix",
            list(matrix.shape),
        )
        low, high = self.spectrum[0][[0, -1]]
        require(
            bool(low >= -1e-9 * max(high, 1.0)), "laplacian", "have no negative eigenvalue", low
        )

    @cached_property
    def spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors."""
        values, vectors = np.linalg.eigh(self.laplacian)
        return values, vectors

    def value(self, weights: Array) -> float:
        """The penalty."""
        return 0.5 * self.strength * float(((weights @ self.laplacian) * weights).sum())

    def prox(self, weights: Array, step: float) -> Array:
        """W (I + step λ L)⁻¹."""
        values, vectors = self.spectrum
        shrunk = (weights @ vectors) / (1.0 + step * self.strength * values.clip(0.0))
        return np.asarray(shrunk @ vectors.T)
