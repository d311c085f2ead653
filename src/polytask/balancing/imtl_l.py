"""IMTL-L: impartial multi-task learning, the loss half."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polytask._checks import require

from .base import LossBalancer


@final
class IMTLL(LossBalancer):
    """Learns one scale per task so that all scaled losses are equal.

        objective = Σ_k e^{s_k} L_k - s_k

    over the present tasks. At its minimum e^{s_k} L_k = 1 for every task, and the objective is
    Σ_k log L_k up to a constant: every task pulls as its logarithm does, whatever its units. With
    s = -log σ² it is twice the regression form of `UncertaintyWeights`. Scale: weights 1 at the
    start, logarithm at the minimum.

    Args:
        num_tasks: Number of tasks K, at least 1.
        initial: s_k at the start. Paper and default: 0.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: `num_tasks` is below 1 or `initial` is not finite.

    Example:
        >>> balancer = IMTLL(2)
        >>> objective = balancer(torch.tensor([1.0, 4.0]))
        >>> objective.backward()
        >>> objective.item(), balancer.log_scales.grad
        (5.0, tensor([0., 3.]))

    Note:
        s is a Parameter (`Role.BALANCE`): give it to the optimizer, without weight decay. A loss
        that can fall below zero has no minimum here: s_k would grow for ever. Together with IMTL-G
        on the gradients of the scaled losses it is `polytask.aggregation.IMTL`.

    Reference:
        Liu et al., "Towards impartial multi-task learning", ICLR 2021, Section 3.2,
        https://openreview.net/forum?id=IMPnRXEWpvr
    """

    guarantees = frozenset({"non-negative-weights"})
    scale = "logarithm"
    paper = "Liu et al. 2021, https://openreview.net/forum?id=IMPnRXEWpvr"

    def __init__(self, num_tasks: int, initial: float = 0.0) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        require(abs(initial) < float("inf"), "initial", "be finite", initial)
        self.num_tasks = num_tasks
        self.initial = initial
        self.log_scales = nn.Parameter(torch.full((num_tasks,), float(initial)))

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The sum of the scaled losses, minus what keeps the scales from vanishing."""
        s = self.log_scales.to(losses.dtype)
        return torch.where(present, torch.exp(s) * losses - s, 0.0).sum()

    @torch.no_grad()
    def reset(self) -> None:
        """Back to the initial scales."""
        self.log_scales.fill_(self.initial)
