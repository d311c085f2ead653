"""Rows or columns of weights near orthonormal (soft orthogonality)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .select import layers
from .soft import total


@final
@dataclass(eq=False)
class Orthogonality(Penalty):
    """λ Σ_layers ‖WᵀW − I‖_F²: every layer keeps lengths and angles (SO).

    W is a layer's weight, ``[outputs, inputs]``; a convolution has a row per output channel. The
    smaller Gram matrix is taken, W Wᵀ where a layer has fewer outputs than inputs, so that the
    least value is 0; the larger one would add a constant. It acts by its gradient.

    Args:
        strength: λ, at least 0; 1e-4 to 1e-1 is usual, falling during training.
        selector: Which weights; default: backbone, trunk and experts. Its `group` has no effect.

    Raises:
        InvalidArgument: If `strength` is negative.

    Example:
        >>> import torch
        >>> penalty = Orthogonality(0.5)
        >>> float(penalty.value([torch.eye(2, 3)])), float(penalty.value([2 * torch.eye(2, 3)]))
        (0.0, 9.0)

    Reference:
        Bansal, Chen & Wang, Can We Gain More from Orthogonality Regularizations in Training Deep
        CNNs?, NeurIPS 2018. https://arxiv.org/abs/1810.09102
    """

    strength: float
    selector: Selector = field(default_factory=layers)

    acts: ClassVar[Acts] = "gradient"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        self.selector = replace(self.selector, group="row")

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """λ Σ ‖WᵀW − I‖_F²."""
        return self.strength * total([_distance(block) for block in blocks])

    def describe(self) -> str:
        """In words, with λ."""
        return f"orthogonality (SO), λ = {self.strength:g}: λ Σ ‖WᵀW − I‖²"


def _distance(weight: Tensor) -> Tensor:
    gram = weight @ weight.mT if weight.shape[0] < weight.shape[1] else weight.mT @ weight
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    distance: Tensor = (gram - identity).square().sum()
    return distance
