"""Penalties on single weights: ridge, lasso, elastic net."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from polytask._checks import at_least, require

from .penalty import ConvexPenalty
from .problem import Array


@final
@dataclass(frozen=True)
class Ridge(ConvexPenalty):
    """(λ/2) ‖W‖²; scikit-learn's ``Ridge(alpha)`` with alpha = n λ on the mean loss.

    Args:
        strength: λ, at least 0.
    """

    strength: float
    name: ClassVar[str] = "ridge"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(self, weights: Array) -> float:
        """The penalty."""
        return 0.5 * self.strength * float((weights**2).sum())

    def prox(self, weights: Array, step: float) -> Array:
        """W / (1 + step λ)."""
        return weights / (1.0 + step * self.strength)


@final
@dataclass(frozen=True)
class ElasticNet(ConvexPenalty):
    """λ r ‖W‖₁ + (λ (1 − r)/2) ‖W‖²: separate features for every task.

    Args:
        strength: λ, at least 0; scikit-learn's ``ElasticNet(alpha)`` on the mean loss.
        l1_ratio: r, above 0 and at most 1; 1 (the default) is the lasso.
    """

    strength: float
    l1_ratio: float = 1.0
    name: ClassVar[str] = "l1"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        require(0 < self.l1_ratio <= 1, "l1_ratio", "be above 0 and at most 1", self.l1_ratio)

    def value(self, weights: Array) -> float:
        """Both terms."""
        square = 0.5 * (1 - self.l1_ratio) * float((weights**2).sum())
        return self.strength * (self.l1_ratio * float(np.abs(weights).sum()) + square)

    def prox(self, weights: Array, step: float) -> Array:
        """Soft threshold, then the ridge part."""
        threshold = step * self.strength * self.l1_ratio
        kept = weights - weights.clip(-threshold, threshold)
        return np.asarray(kept / (1.0 + step * self.strength * (1 - self.l1_ratio)))

    def dual(self, gradient: Array) -> float:
        """Largest entry."""
        return float(np.abs(gradient).max()) / self.l1_ratio
