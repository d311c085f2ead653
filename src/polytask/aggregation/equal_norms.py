"""Giving all tasks gradients of one length before they are combined."""

from typing import Literal, final

import numpy as np

from polytask._checks import one_of
from polytask._linalg import Solution

from .base import GramianAggregator, Problem
from .task_clipping import reweigh

_TARGETS = ("mean", "minimum", "one")
_LOST = frozenset({"linear-under-scaling", "weights-sum-to-one"})


@final
class EqualizeNorms(GramianAggregator):
    """Rescales every task's gradient to a common length before a method combines them.

        c_k = target/‖g_k‖,     w_k = c_k ŵ_k

    where ŵ are the method's weights for the gradients c_k g_k. The tasks' units and scales then
    have no say in the direction of the update. Signs are kept, so a method that never conflicts
    still does not. A zero gradient stays zero.

    Args:
        aggregator: The method.
        to: Common length: "mean" or "minimum" of the lengths (other than zero) of this update, so
            that its size still tells how far training has come, or "one".

    Shapes:
        As those of the method.

    Raises:
        UnknownName: there is no such target.

    Example:
        >>> import torch
        >>> from polytask.aggregation import Sum
        >>> EqualizeNorms(Sum(), to="one")(torch.diag(torch.tensor([100.0, 0.25])))
        tensor([0.1000, 2.0000])
    """

    def __init__(
        self, aggregator: GramianAggregator, to: Literal["mean", "minimum", "one"] = "mean"
    ) -> None:
        super().__init__()
        one_of("to", to, _TARGETS)
        self.aggregator = aggregator
        self.target = to
        self.needs = "norms" if aggregator.needs == "none" else aggregator.needs
        self.needs_losses, self.draws = aggregator.needs_losses, aggregator.draws
        self.paper = aggregator.paper
        self.scale = "fixed-norm" if to == "one" else aggregator.scale
        self.guarantees = aggregator.guarantees - _LOST
        if "homogeneous" in aggregator.guarantees:
            self.guarantees |= {"line-invariant"}
            self.guarantees |= {"scale-invariant"} if to == "one" else frozenset()

    def weigh(self, problem: Problem) -> Solution:
        """The method's weights for gradients of one length, times the rescaling."""
        norms = np.sqrt(np.maximum(np.diagonal(problem.gramian), 0.0))
        alive = norms > 0.0
        factors = np.ones(norms.size)
        if alive.any():
            lengths = norms[alive]
            common = {"mean": lengths.mean(), "minimum": lengths.min(), "one": 1.0}[self.target]
            factors[alive] = common / lengths
        return reweigh(self.aggregator, problem, factors)

    def reset(self) -> None:
        """Resets the method."""
        self.aggregator.reset()
