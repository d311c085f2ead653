"""Smooth Tchebycheff scalarization (STCH) as used for multi-task learning."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import positive, require

from .base import LossBalancer, usable
from .logarithms import positive_logarithms


@final
class SmoothTchebycheff(LossBalancer):
    """A smooth maximum of the losses relative to where they stood after the warm-up.

    During the warm-up the objective is Σ_k log L_k. The nadir n_k is the mean loss of task k over
    the updates of the last warm-up epoch; afterwards

        objective = K' μ log Σ_k exp(log(L_k / n_k) / μ)
        w_k = K' softmax(log(L / n) / μ)_k / L_k

    over the K' present tasks: the smaller μ, the more the update follows the task that improved
    least. Units of the losses cancel. Scale: logarithm (the w_k L_k sum to K').

    Args:
        num_tasks: Number of tasks K, at least 1.
        mu: μ > 0, the smoothing. The paper tries 0.01 to 1. Authors' code and default: 1.
        warmup_epochs: At least 1; the last of them measures the nadir. Authors' code and default:
            5 (they count from 0 and say 4).

    Shapes:
        losses: ``[tasks]``; state: nadir, sums and updates of the present epoch, ``[tasks]``, and
        the epochs done, scalar.
        objective: scalar.

    Raises:
        InvalidArgument: An argument breaks its rule.

    Example:
        >>> balancer = SmoothTchebycheff(2, warmup_epochs=1)
        >>> _ = balancer(torch.tensor([2.0, 4.0]))
        >>> balancer.end_epoch()
        >>> losses = torch.tensor([1.0, 4.0], requires_grad=True)
        >>> balancer(losses).backward()
        >>> losses.grad
        tensor([0.6667, 0.3333])

    Note:
        A task without labels in the last warm-up epoch gets its nadir in the first epoch after it
        in which it has some; until then it counts as standing at its nadir. A loss of exactly zero,
        which has no logarithm, is left out, where the authors add 1e-20; a negative loss gives NaN.
        `PlainSmoothTchebycheff` is the scalarization itself.

    Reference:
        Lin et al., "Smooth Tchebycheff scalarization for multi-objective optimization", ICML 2024,
        Eq. 12, and the authors' code, https://arxiv.org/abs/2402.19078
    """

    guarantees = frozenset({"non-negative-weights", "scale-invariant", "homogeneous"})
    scale = "logarithm"
    paper = "Lin et al. 2024, https://arxiv.org/abs/2402.19078"

    nadir: Tensor
    sums: Tensor
    updates: Tensor
    epochs: Tensor

    def __init__(self, num_tasks: int, mu: float = 1.0, warmup_epochs: int = 5) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        positive("mu", mu)
        require(warmup_epochs >= 1, "warmup_epochs", "be at least 1", warmup_epochs)
        self.num_tasks = num_tasks
        self.mu = mu
        self.warmup_epochs = warmup_epochs
        self.register_buffer("nadir", torch.full((num_tasks,), torch.nan, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("updates", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The smooth maximum, or the sum of the logarithms; notes the losses for the nadir."""
        noted = usable(losses, present)
        self.sums.add_(torch.where(noted, losses.detach(), 0.0))
        self.updates.add_(noted)
        logarithms, kept = positive_logarithms(losses, present)
        known = self.nadir > 0.0
        # As a difference of logarithms: the quotient of two numbers of a type may not fit into it.
        nadir = torch.where(known, self.nadir, 1.0).log().to(losses.dtype)
        heights = torch.where(known, logarithms - nadir, logarithms - logarithms.detach())
        scores = torch.where(kept, heights / self.mu, -torch.inf)
        scores = torch.where(kept.any(), scores, 0.0)  # nobody present: slope 0, not NaN
        smooth = kept.sum() * self.mu * scores.logsumexp(0)
        return torch.where(known.any(), smooth, torch.where(kept, logarithms, 0.0).sum())

    def end_epoch(self) -> None:
        """Sets the nadir of the tasks that have none, once the warm-up is over."""
        self.epochs.add_(1)
        mean = self.sums / self.updates
        found = (self.epochs >= self.warmup_epochs) & (mean > 0.0) & self.nadir.isnan()
        self.nadir.copy_(torch.where(found, mean, self.nadir))
        self.sums.zero_()
        self.updates.zero_()

    def reset(self) -> None:
        """The warm-up starts again."""
        self.nadir.fill_(torch.nan)
        for buffer in (self.sums, self.updates, self.epochs):
            buffer.zero_()
