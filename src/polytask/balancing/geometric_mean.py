"""The geometric loss strategy (GLS)."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import require

from .base import LossBalancer
from .logarithms import positive_logarithms


@final
class GeometricMean(LossBalancer):
    """The geometric mean of the losses.

        objective = (Π_k L_k)^{1/K'} = exp(mean_k log L_k),     w_k = objective / (K' L_k)

    over the K' present tasks: each task pulls by the same share of its own loss, so that units do
    not matter, and nothing has to be tuned. Computed from logarithms, because the product of forty
    small losses is zero in single precision. Scale: mean (1/K' for equal losses).

    Args:
        num_tasks: Number of tasks K, at least 1.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: `num_tasks` is below 1.

    Example:
        >>> round(GeometricMean(2)(torch.tensor([1.0, 4.0])).item(), 4)
        2.0

    Note:
        A loss of exactly zero, where the formula is zero and has no gradient, is left out. A
        negative loss gives NaN. The paper also gives a variant with fixed weights in the exponent.

    Reference:
        Chennupati et al., "MultiNet++: multi-stream feature aggregation and geometric loss strategy
        for multi-task learning", CVPR workshops 2019, Eq. 3, https://arxiv.org/abs/1904.08492
    """

    guarantees = frozenset({"non-negative-weights", "line-invariant", "homogeneous"})
    scale = "mean"
    paper = "Chennupati et al. 2019, https://arxiv.org/abs/1904.08492"

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        self.num_tasks = num_tasks

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The geometric mean over the present tasks."""
        logarithms, kept = positive_logarithms(losses, present)
        number = kept.sum()
        mean = torch.where(kept, logarithms, 0.0).sum() / number.clamp_min(1)
        return torch.where(number > 0, mean.exp(), 0.0)
