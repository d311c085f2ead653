"""Dynamic weight average (DWA)."""

from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import positive, require

from .base import LossBalancer, usable
from .shares import softmax_shares


@final
class DWA(LossBalancer):
    """Weighs tasks by how slowly their losses fell from one epoch to the next.

    With the mean loss L̄_k(e) of task k over the updates of epoch e,

        r_k = L̄_k(e - 1) / L̄_k(e - 2),     w_k = K' exp(r_k / T) / Σ_j exp(r_j / T)
        objective = Σ_k w_k L_k

    over the K' present tasks; r_k = 1 during the first two epochs. Ratios have no units, so the
    weights do not depend on the size of the losses. Scale: sum (the weights sum to K').

    Args:
        num_tasks: Number of tasks K, at least 1.
        temperature: T > 0; the larger, the more equal the weights. Paper and default: 2.

    Shapes:
        losses: ``[tasks]``; state: sums, updates and the means of two epochs, ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: An argument breaks its rule.

    Example:
        >>> balancer = DWA(2)
        >>> for losses in ([4.0, 10.0], [2.0, 9.0]):
        ...     _ = balancer(torch.tensor(losses))
        ...     balancer.end_epoch()
        >>> losses = torch.ones(2, requires_grad=True)
        >>> balancer(losses).backward()
        >>> losses.grad
        tensor([0.9003, 1.0997])

    Note:
        The epochs of a task are those in which it had labels; a task without two of them, or whose
        loss was not positive, has r_k = 1. The authors keep the weights of all tasks summing to K;
        here those of the present ones sum to their number.

    Reference:
        Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019, Eq. 7,
        https://arxiv.org/abs/1803.10704
    """

    guarantees = frozenset(
        {"non-negative-weights", "weights-sum-to-tasks", "linear-under-scaling", "homogeneous"}
    )
    scale = "sum"
    linear: ClassVar[bool] = True
    paper = "Liu et al. 2019, https://arxiv.org/abs/1803.10704"

    sums: Tensor
    updates: Tensor
    means: Tensor

    def __init__(self, num_tasks: int, temperature: float = 2.0) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        positive("temperature", temperature)
        self.num_tasks = num_tasks
        self.temperature = temperature
        self.register_buffer("sums", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("updates", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("means", torch.full((2, num_tasks), torch.nan, dtype=torch.float64))

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The weighted sum; notes the losses for the mean of the epoch."""
        noted = usable(losses, present)
        self.sums.add_(torch.where(noted, losses.detach(), 0.0))
        self.updates.add_(noted)
        earlier, latest = self.means
        ratios = torch.where(earlier > 0.0, latest / earlier, 1.0)
        shares = softmax_shares(ratios / self.temperature, present) * present.sum()
        return torch.dot(shares.to(losses.dtype), losses)

    def end_epoch(self) -> None:
        """The means of the epoch become the latest ones."""
        mean = self.sums / self.updates
        shifted = torch.stack([self.means[1], mean])
        self.means.copy_(torch.where(self.updates > 0.0, shifted, self.means))
        self.sums.zero_()
        self.updates.zero_()

    def reset(self) -> None:
        """Forgets all epochs."""
        self.sums.zero_()
        self.updates.zero_()
        self.means.fill_(torch.nan)
