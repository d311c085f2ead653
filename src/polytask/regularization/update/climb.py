"""The contract of sharpness-aware methods: up to the worst point nearby, and back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polytask._checks import positive


class Climb(ABC):
    """Moves weights by ρ d / ℓ before the second pass; a subclass says what d and ℓ are.

    Args:
        rho: Radius ρ, positive.

    Raises:
        InvalidArgument: If `rho` is not positive.
    """

    def __init__(self, rho: float) -> None:
        positive("rho", rho)
        self.rho = rho

    @abstractmethod
    def direction(
        self, weights: Sequence[nn.Parameter], gradients: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], Tensor]:
        """The direction d, a tensor per parameter, and its length ℓ over all of them together.

        Args:
            weights: Parameters that have a gradient, at least one.
            gradients: Theirs; they are left alone.
        """

    @abstractmethod
    def describe(self) -> str:
        """The radius, in words for the report."""

    @torch.no_grad()
    def climb_(self, parameters: Sequence[nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
        """Moves the parameters that have a gradient to w + ε.

        A zero gradient moves nothing: there is no worst direction. Reads one number, the length,
        back from the device.

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
        direction, norm = self.direction(moved, gradients)
        length = float(norm)
        # Below this bound ρ/ℓ overflows; what is not a number goes on, for the step to see it.
        if not length <= self.rho / torch.finfo(norm.dtype).max:
            weights: list[Tensor] = list(moved)
            torch._foreach_add_(weights, list(direction), alpha=self.rho / length)
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


def length_of(tensors: Sequence[Tensor]) -> Tensor:
    """‖·‖ over all tensors together.

    Example:
        >>> length_of([torch.tensor([3.0]), torch.tensor([[4.0]])]).item()
        5.0
    """
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return norm
