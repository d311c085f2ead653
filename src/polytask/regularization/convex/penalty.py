"""The contract of a convex penalty on the matrix of all weights."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from polytask.errors import Unsupported

from .problem import Array


class ConvexPenalty(ABC):
    """λR(W) on W ``[features, outputs]``; frozen dataclasses with a field `strength`."""

    strength: float
    """λ, at least 0, on the scale of the data term."""

    name: ClassVar[str]
    """Short name, as in the table of a choice."""

    @abstractmethod
    def value(self, weights: Array) -> float:
        """λR(W)."""

    @abstractmethod
    def prox(self, weights: Array, step: float) -> Array:
        """Argmin over V of ½ ‖V − W‖² / step + λR(V)."""

    def dual(self, gradient: Array) -> float:
        """The smallest λ at which W = 0 is optimal, given the data term's gradient there.

        Raises:
            Unsupported: If no finite λ makes all weights exactly zero.
        """
        raise Unsupported(
            f"The penalty {self.name!r} shrinks and never gives exact zeros: it has no largest "
            "strength. Give the strengths of the path yourself."
        )

    @property
    def selects(self) -> bool:
        """Whether some finite λ makes all weights exactly zero."""
        return type(self).dual is not ConvexPenalty.dual

    def at(self, strength: float) -> Self:
        """The same penalty with another λ."""
        me: Any = self
        return replace(me, strength=strength)  # type: ignore[no-any-return]


def shrink(norms: Array, threshold: Array | float) -> Array:
    """max(1 − threshold/norm, 0), elementwise; 0 where the norm is 0.

    Example:
        >>> shrink(np.array([0.0, 1.0, 4.0]), 2.0).tolist()
        [0.0, 0.0, 0.5]
    """
    safe = np.where(norms > 0, norms, 1.0)
    return np.asarray(np.where(norms > threshold, 1.0 - threshold / safe, 0.0))
