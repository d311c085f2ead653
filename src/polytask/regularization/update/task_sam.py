"""SAM for every task by itself: each looks for its own worst point nearby."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from polytask._checks import positive

from .climb import length_of


@final
class TaskSAM:
    """Every task's gradient is taken at the worst point of that task alone.

    A method that combines the gradients of tasks sees, instead of ∇L_k(w), those of

        L_k(w + ε_k) ,   ε_k = ρ g_k / ‖g_k‖ ,   g_k = ∇L_k(w)

    with ε_k held constant and ‖·‖ over all parameters that task k reaches, shared and its own.
    One point for all tasks (`SAM`) is the worst one of their sum, and can be a harmless one for
    some of them.

    Args:
        rho: Radius ρ, positive; 0.05 is usual.

    Raises:
        InvalidArgument: If `rho` is not positive.

    Example:
        >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> loss = 0.5 * w.square().sum()
        >>> worst = TaskSAM(rho=0.5).worst({"w": w}, loss)["w"]
        >>> worst.tolist()
        [3.299999952316284, 4.400000095367432]
        >>> (0.5 * worst.square().sum()).backward()  # the gradient there, at w
        >>> w.grad.tolist()
        [3.299999952316284, 4.400000095367432]

    Note:
        The paper combines ∇L_k(w) and ∇L_k(w + ε_k) − ∇L_k(w) separately and adds the results.
        Here the method is asked once, as its state demands, and with the gradients at the worst
        points. Costs one forward and one backward pass more per task and update.

    Reference:
        Phan et al., Improving Multi-task Learning via Seeking Task-based Flat Regions, 2022.
        https://arxiv.org/abs/2211.13723
    """

    def __init__(self, rho: float = 0.05) -> None:
        positive("rho", rho)
        self.rho = rho

    def worst(self, parameters: Mapping[str, Tensor], loss: Tensor) -> dict[str, Tensor]:
        """The parameters at the worst point of one task, connected to the parameters of now.

        What they are given to, such as ``torch.func.functional_call``, computes L_k(w + ε_k);
        its gradient reaches w. A zero gradient moves nothing.

        Args:
            parameters: Those of the model, by name.
            loss: L_k of one task, with its graph, which is kept.

        Returns:
            The parameters that the task reaches and that are trained, moved.
        """
        trained = {name: p for name, p in parameters.items() if p.requires_grad}
        if not loss.requires_grad:
            return {}
        found = torch.autograd.grad(
            loss, list(trained.values()), retain_graph=True, allow_unused=True
        )
        gradients = {n: g for n, g in zip(trained, found, strict=True) if g is not None}
        norm = length_of(list(gradients.values()))
        # Below this bound ρ/‖g‖ overflows; what is not a number goes on, for the step to see it.
        still = norm <= self.rho / torch.finfo(norm.dtype).max
        factor = torch.where(still, 0.0, self.rho / torch.where(still, 1.0, norm))
        return {name: trained[name] + factor * g for name, g in gradients.items()}

    def describe(self) -> str:
        """The radius, in words."""
        return (
            f"every task's gradient at its own worst point within the radius {self.rho:g}; "
            "two passes per task"
        )
