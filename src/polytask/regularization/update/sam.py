"""SAM: the gradient at the worst point nearby."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from polytask._checks import positive


@final
class SAM:
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
        positive("rho", rho)
        self.rho = rho

    @torch.no_grad()
    def climb_(self, parameters: Sequence[nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
        """Moves the parameters that have a gradient to w + ε.

        A zero gradient moves nothing: there is no worst direction. Reads one number, the norm, back
        from the device.

        Args:
            parameters: All parameters of the update.

        Returns:
            The parameters that were moved, each with a copy of what it was, for `restore_`.
        """
        moved = [parameter for parameter in parameters if parameter.grad is not None]
        gradients = [p.grad for p in moved if p.grad is not None]
        saved = [(parameter, parameter.detach().clone()) for parameter in moved]
        if not gradients:
            return saved
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        length = float(norm)
        # Below this bound ρ/‖g‖ overflows; what is not a number goes on, for the step to see it.
        if not length <= self.rho / torch.finfo(norm.dtype).max:
            weights: list[Tensor] = list(moved)
            torch._foreach_add_(weights, gradients, alpha=self.rho / length)
        return saved

    @torch.no_grad()
    def restore_(self, saved: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
        """Puts back the very bits that `climb_` moved; adding and subtracting would round.

        Args:
            saved: What `climb_` returned.
        """
        if saved:
            moved, copies = zip(*saved, strict=True)
            torch._foreach_copy_(list(moved), list(copies))

    def describe(self) -> str:
        """The radius, in words."""
        return f"gradient at the worst point within the radius {self.rho:g}; twice the passes"
