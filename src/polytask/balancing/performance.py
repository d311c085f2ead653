"""Weights from how well each task does on training rows held out for balancing."""

import math
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import probability, require

from .linear import LinearBalancer


@final
class PerformanceWeights(LinearBalancer):
    """Weighs tasks by the share of their loss that is still left on rows they do not train on.

    After every epoch `measured` hears the losses M_k of the tasks on training rows that were set
    aside for balancing. With M_k(0), what it heard first,

        r_k = M_k / M_k(0), not below `floor` and not above 1,     averaged over epochs
        w_k ∝ r_k^α,     objective = Σ_k w_k L_k / Σ_k w_k

    over the present tasks. Losses of the rows that are trained on fall also where nothing is learnt
    but noise; those of held-out rows fall only with what carries over. With α > 0 the update
    follows the tasks of which most is left to learn; with α < 0 those that generalise, and a task
    that cannot be learnt loses its influence instead of gaining it. Ratios have no units. The
    validation rows, which decide when to stop, are not touched. Scale: mean, equal weights until
    the second measurement.

    Args:
        num_tasks: Number of tasks K, at least 1.
        alpha: α, finite; 0 means equal weights. Default: 0.5.
        momentum: Share of the past in the averaged r_k, in [0, 1). Default: 0.
        floor: Smallest r_k that counts, in (0, 1]: no two weights differ by more than floor^-|α|.
            Default: 0.01.

    Shapes:
        losses: ``[tasks]``; state: first losses, averaged r_k and weights, ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: An argument breaks its rule.

    Example:
        >>> balancer = PerformanceWeights(2, alpha=1.0)
        >>> balancer.measured(torch.tensor([1.0, 8.0]))
        >>> balancer.measured(torch.tensor([0.75, 2.0]))
        >>> losses = torch.ones(2, requires_grad=True)
        >>> balancer(losses).backward()
        >>> losses.grad
        tensor([0.7500, 0.2500])

    Note:
        (M_k / M_k(0))^α is the weight of loss-balanced task weighting, which measures it on the
        training batches and restarts M_k(0) in every epoch; the ratios M_k / M_k(0), relative to
        their mean, are the inverse training rates of GradNorm. Held-out rows, the bounds of r_k,
        negative α and the normalisation are choices made here. Above 1 a task is worse than at its
        start, and more weight would not help it. A task that was never measured with a positive
        loss has the mean weight of the others.

    Reference:
        Liu, Liang, Gitter, "Loss-balanced task weighting to reduce negative transfer in multi-task
        learning", AAAI 2019, https://doi.org/10.1609/aaai.v33i01.33019977; Chen et al., "GradNorm",
        ICML 2018, Section 3.1, https://arxiv.org/abs/1711.02257
    """

    held_out: ClassVar[bool] = True
    paper = "after Liu et al. 2019, https://doi.org/10.1609/aaai.v33i01.33019977"

    first: Tensor
    left: Tensor
    values: Tensor

    def __init__(
        self, num_tasks: int, alpha: float = 0.5, momentum: float = 0.0, floor: float = 0.01
    ) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        require(math.isfinite(alpha), "alpha", "be finite", alpha)
        probability("momentum", momentum)
        require(0.0 < floor <= 1.0, "floor", "be above 0 and at most 1", floor)
        self.num_tasks = num_tasks
        self.alpha, self.momentum, self.floor = alpha, momentum, floor
        self.register_buffer("first", torch.full((num_tasks,), torch.nan, dtype=torch.float64))
        self.register_buffer("left", torch.full((num_tasks,), torch.nan, dtype=torch.float64))
        self.register_buffer("values", torch.ones(num_tasks, dtype=torch.float64))

    @torch.no_grad()
    def measured(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"] | None = None,
    ) -> None:
        """Sets the weights of the epoch to come."""
        losses = losses.double()
        heard = torch.isfinite(losses) & (losses >= 0.0)
        if present is not None:
            heard = heard & present
        begins = heard & (losses > 0.0) & self.first.isnan()
        self.first.copy_(torch.where(begins, losses, self.first))
        ratios = (losses / self.first).clamp(self.floor, 1.0)
        mixed = self.momentum * self.left + (1.0 - self.momentum) * ratios
        now = torch.where(self.left.isnan(), ratios, mixed)
        self.left.copy_(torch.where(heard, now, self.left))
        powers = self.left**self.alpha
        # nanmean of nothing is NaN, and then every weight is 1.
        self.values.copy_(torch.nan_to_num(powers / powers.nanmean(), nan=1.0))

    def relative(self, counts: Float[Tensor, " tasks"] | None) -> Float[Tensor, " tasks"]:
        """Those of the last measurement; their mean is 1."""
        return self.values

    def reset(self) -> None:
        """Forgets all measurements."""
        self.first.fill_(torch.nan)
        self.left.fill_(torch.nan)
        self.values.fill_(1.0)
