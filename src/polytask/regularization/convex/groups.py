"""Penalties that keep or drop whole sets of weights: L2,1 across tasks, group lasso."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from polytask._checks import at_least, require

from .penalty import ConvexPenalty, shrink
from .problem import Array


@final
@dataclass(frozen=True)
class L21(ConvexPenalty):
    """λ r Σ_i ‖W_i‖₂ + (λ (1 − r)/2) ‖W‖²: all tasks use the same few features.

    Args:
        strength: λ, at least 0; scikit-learn's ``MultiTaskLasso(alpha)`` on the mean loss.
        l1_ratio: r, above 0 and at most 1; below 1 it is ``MultiTaskElasticNet``.

    Reference:
        Obozinski, Taskar & Jordan, Joint Covariate Selection and Joint Subspace Selection for
        Multiple Classification Problems, Statistics and Computing, 2010.
        https://doi.org/10.1007/s11222-008-9111-x
    """

    strength: float
    l1_ratio: float = 1.0
    name: ClassVar[str] = "l21"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        require(0 < self.l1_ratio <= 1, "l1_ratio", "be above 0 and at most 1", self.l1_ratio)

    def value(self, weights: Array) -> float:
        """Both terms."""
        rows = float(np.sqrt((weights**2).sum(1)).sum())
        square = 0.5 * (1 - self.l1_ratio) * float((weights**2).sum())
        return self.strength * (self.l1_ratio * rows + square)

    def prox(self, weights: Array, step: float) -> Array:
        """Every row is shortened by step λ r, then the ridge part."""
        norms = np.sqrt((weights**2).sum(1))
        factor = shrink(norms, step * self.strength * self.l1_ratio)
        return weights * (factor / (1.0 + step * self.strength * (1 - self.l1_ratio)))[:, None]

    def dual(self, gradient: Array) -> float:
        """Largest norm of a row."""
        return float(np.sqrt((gradient**2).sum(1)).max()) / self.l1_ratio


@final
@dataclass(frozen=True)
class GroupLasso(ConvexPenalty):
    """λ Σ_g √|g| ‖W_g‖₂ for given groups of features, separately for every output.

    Args:
        strength: λ, at least 0.
        groups: Group of every feature, ``[features]``, counted from 0 without gaps.

    Reference:
        Yuan & Lin, Model Selection and Estimation in Regression with Grouped Variables, JRSS B,
        2006. https://doi.org/10.1111/j.1467-9868.2005.00532.x
    """

    strength: float
    groups: tuple[int, ...]
    name: ClassVar[str] = "group-lasso"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        found = sorted(set(self.groups))
        require(found == list(range(len(found))), "groups", "count from 0 without gaps", found)

    def _norms(self, weights: Array) -> tuple[NDArray[np.int64], Array, Array]:
        require(
            len(self.groups) == len(weights),
            "groups",
            f"name a group for each of the {len(weights)} features",
            len(self.groups),
        )
        member = np.array(self.groups)
        sizes = np.bincount(member)
        squares = np.zeros((len(sizes), weights.shape[1]))
        np.add.at(squares, member, weights**2)
        return member, np.sqrt(squares), np.sqrt(sizes.astype(float))[:, None]

    def value(self, weights: Array) -> float:
        """The penalty."""
        _, norms, factors = self._norms(weights)
        return self.strength * float((norms * factors).sum())

    def prox(self, weights: Array, step: float) -> Array:
        """Every group is shortened by step λ √|g|."""
        member, norms, factors = self._norms(weights)
        return np.asarray(weights * shrink(norms, step * self.strength * factors)[member])

    def dual(self, gradient: Array) -> float:
        """Largest norm of a group, divided by √|g|."""
        _, norms, factors = self._norms(gradient)
        return float((norms / factors).max())
