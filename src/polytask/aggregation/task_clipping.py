"""Clipping each task's gradient before the tasks are combined."""

from typing import final

import numpy as np

from polytask._checks import positive
from polytask._linalg import Solution

from .base import GramianAggregator, Problem

_LOST = frozenset({"linear-under-scaling", "scale-invariant", "homogeneous", "weights-sum-to-one"})


@final
class ClipTaskGradients(GramianAggregator):
    """Shortens every task's gradient to a largest length before a method combines them.

        c_k = min(1, max_norm/‖g_k‖),     w_k = c_k ŵ_k

    where ŵ are the method's weights for the gradients c_k g_k. Clipping the combined update lets
    one exploding task silence the others; clipping per task does not. Signs are kept, so a method
    that never conflicts still does not.

    Args:
        aggregator: The method.
        max_norm: Largest length of a task's gradient.

    Shapes:
        As those of the method.

    Raises:
        InvalidArgument: max_norm is not positive.

    Example:
        >>> import torch
        >>> from polytask.aggregation import Sum
        >>> ClipTaskGradients(Sum(), max_norm=1.0)(torch.diag(torch.tensor([100.0, 0.25])))
        tensor([0.1000, 1.0000])
    """

    def __init__(self, aggregator: GramianAggregator, max_norm: float) -> None:
        super().__init__()
        positive("max_norm", max_norm)
        self.aggregator = aggregator
        self.max_norm = max_norm
        self.needs = "norms" if aggregator.needs == "none" else aggregator.needs
        self.needs_losses, self.draws = aggregator.needs_losses, aggregator.draws
        self.scale, self.paper = aggregator.scale, aggregator.paper
        self.guarantees = aggregator.guarantees - _LOST

    def weigh(self, problem: Problem) -> Solution:
        """The method's weights for shortened gradients, times the shortening."""
        norms = np.sqrt(np.maximum(np.diagonal(problem.gramian), 0.0))
        factors = np.ones(norms.size)
        long = norms > self.max_norm
        factors[long] = self.max_norm / norms[long]
        return reweigh(self.aggregator, problem, factors)

    def reset(self) -> None:
        """Resets the method."""
        self.aggregator.reset()


def reweigh(
    aggregator: GramianAggregator,
    problem: Problem,
    factors: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> Solution:
    """Weights for the gradients c_k g_k, expressed for g_k."""
    scaled = problem.gramian * factors[:, None] * factors[None, :]
    found = aggregator.weigh(problem._replace(gramian=scaled))
    return found._replace(weights=found.weights * factors)
