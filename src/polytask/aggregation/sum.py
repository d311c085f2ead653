"""The sum of the task gradients."""

from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._linalg import Solution

from .base import GramianAggregator, Problem


@final
class Sum(GramianAggregator):
    """Weight one for every task: the sum of the task gradients.

        w_k = 1

    Scale: sum; its effective learning rate is K times that of `Mean`.

    Example:
        >>> Sum()(torch.eye(3))
        tensor([1., 1., 1.])
    """

    needs = "none"
    guarantees = frozenset({"non-negative-weights", "homogeneous", "linear-under-scaling"})
    scale = "sum"
    cost = "one-backward"

    def weigh(self, problem: Problem) -> Solution:
        """1 each."""
        return Solution(np.ones(problem.tasks.size), 0.0, frozenset())

    def ready_weights(self, present: Bool[Tensor, " tasks"]) -> Float[Tensor, " tasks"]:
        """1 each, without gradients."""
        return present.to(torch.float64)
