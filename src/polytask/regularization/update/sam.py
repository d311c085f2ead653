"""SAM: the gradient at the worst point nearby."""

from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from .climb import Climb, length_of


@final
class SAM(Climb):
    """Sharpness-aware minimisation: looks for weights whose whole neighbourhood has a low loss.

    The optimizer steps from w with the gradient taken at w + ε, where

        ε = ρ g / ‖g‖ ,   g = gradient at w, ‖·‖ over all parameters together

    is, to first order, the worst point within the radius ρ. The second pass must see the same
    dropout masks, and running statistics must move once; polytask's step takes care of both.

    Args:
        rho: Radius ρ, positive; the paper's default is 0.05.

    Raises:
        InvalidArgument: If `rho` is not positive.

    Example:
        >>> import torch
        >>> weight = nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> sam = SAM(rho=0.5)
        >>> saved = sam.climb_([weight])
        >>> weight.tolist()
        [3.299999952316284, 4.400000095367432]
        >>> sam.restore_(saved)
        >>> weight.tolist()
        [3.0, 4.0]

    Note:
        Costs a second forward and backward pass per update.

    Reference:
        Foret, Kleiner, Mobahi & Neyshabur, Sharpness-Aware Minimization for Efficiently Improving
        Generalization, ICLR 2021, algorithm 1. https://arxiv.org/abs/2010.01412
    """

    def __init__(self, rho: float = 0.05) -> None:
        super().__init__(rho)

    def direction(
        self, weights: Sequence[nn.Parameter], gradients: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], Tensor]:
        """The gradient g, and ‖g‖."""
        return gradients, length_of(gradients)

    def describe(self) -> str:
        """The radius, in words."""
        return f"gradient at the worst point within the radius {self.rho:g}; twice the passes"
