"""The mean of the task gradients."""

from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._linalg import Solution

from .base import GramianAggregator, Problem


@final
class Mean(GramianAggregator):
    """Equal weights that sum to one: the mean of the task gradients.

        w_k = 1/K

    with K the number of present tasks. The baseline that every other method has to beat; it needs
    no gradient information. Scale: mean.

    Example:
        >>> Mean()(torch.eye(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    needs = "none"
    guarantees = frozenset(
        {"non-negative-weights", "weights-sum-to-one", "homogeneous", "linear-under-scaling"}
    )
    scale = "mean"
    cost = "one-backward"

    def weigh(self, problem: Problem) -> Solution:
        """1/K each."""
        size = problem.tasks.size
        return Solution(np.full(size, 1.0 / size), 0.0, frozenset())

    def ready_weights(self, present: Bool[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        """1/K each, without gradients."""
        shares = present.to(torch.float64)
        return shares / shares.sum().clamp(min=1.0)
