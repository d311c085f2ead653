"""UW-SO: soft optimal uncertainty weighting."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import positive, require

from .base import LossBalancer
from .logarithms import positive_logarithms
from .shares import softmax_shares


@final
class UWSO(LossBalancer):
    """Weighs each task by the softmax of its inverse loss.

        w_k = exp(1 / (T L_k)) / Σ_j exp(1 / (T L_j)),     objective = Σ_k w_k L_k

    over the present tasks, with w held constant. 1/L_k is the weight at which `UncertaintyWeights`
    would end for a loss that stands still; the analytic form spares the wait, and the softmax
    limits the ratio of the weights. The temperature decides everything: for T large against all
    1/L_k the weights are equal, for T small one task, that with the smallest loss, takes all. It
    has to be tuned, because inverse losses have units. Scale: mean.

    Args:
        num_tasks: Number of tasks K, at least 1.
        temperature: T > 0. The paper chooses it on validation data for every set. Default: 1.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: An argument breaks its rule.

    Example:
        >>> losses = torch.tensor([1.0, 0.5], requires_grad=True)
        >>> UWSO(2)(losses).backward()
        >>> losses.grad
        tensor([0.2689, 0.7311])

    Note:
        A loss of exactly zero, where the paper's formula gives all weight to the solved task and
        none to the others, is left out. A negative loss gives NaN.

    Reference:
        Kirchdorfer, Elich, Kutsche, Stuckenschmidt, Schott, Köhler, "Analytical uncertainty-based
        loss weighting in multi-task learning", GCPR 2024, https://arxiv.org/abs/2408.07985
    """

    guarantees = frozenset({"non-negative-weights", "weights-sum-to-one"})
    scale = "mean"
    paper = "Kirchdorfer et al. 2024, https://arxiv.org/abs/2408.07985"

    def __init__(self, num_tasks: int, temperature: float = 1.0) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        positive("temperature", temperature)
        self.num_tasks = num_tasks
        self.temperature = temperature

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The weighted mean of the losses."""
        logarithms, kept = positive_logarithms(losses.detach(), present)
        largest = torch.finfo(losses.dtype).max
        scores = (torch.exp(-logarithms) / self.temperature).clamp(max=largest)
        return torch.dot(softmax_shares(scores, kept), losses)
