"""Reusing weights for several updates."""

from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from polytask._checks import require
from polytask._linalg import Array, Solution

from .base import GramianAggregator, Problem
from .gradvac import same_number
from .moving_average import summing_to_one

_SURVIVING = frozenset({"non-negative-weights", "weights-sum-to-one"})


@final
class EveryN(GramianAggregator):
    """Asks a method for weights every n updates and reuses them in between.

    A method that costs c times an ordinary step then costs 1 + (c - 1)/n, because an update with
    known weights is one backward of the weighted sum (`ready_weights`). The weights are asked for
    anew as soon as a task is present that had none, or all that are present had weight 0. Reused
    weights keep their sign and, where the method promises it, their sum of one over the tasks that
    are present, but no promise about conflicts. If fewer tasks are present than were asked about,
    the weights of a method with scale "mean" grow by the ratio of the two numbers, so that the
    update does not shrink.

    Args:
        aggregator: The method.
        n: Number of updates that share weights, at least 1.

    Shapes:
        As those of the method; state: its own, and the weights [tasks].

    Raises:
        InvalidArgument: n is below 1.

    Example:
        >>> import torch
        >>> from polytask.aggregation import MGDA
        >>> method = EveryN(MGDA(), n=10)
        >>> method(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([0.6000, 0.4000])
        >>> method.ready_weights(torch.tensor([True, True]))
        tensor([0.6000, 0.4000], dtype=torch.float64)

    Reference:
        Navon et al., "Multi-task learning as a bargaining game", ICML 2022, section 5 (weights
        updated every few steps), https://arxiv.org/abs/2202.01017
    """

    kept: Tensor
    age: Tensor

    def __init__(self, aggregator: GramianAggregator, n: int) -> None:
        super().__init__()
        require(n >= 1, "n", "be at least 1", n)
        self.aggregator = aggregator
        self.n = n
        self.needs, self.needs_losses = aggregator.needs, aggregator.needs_losses
        self.draws, self.scale, self.cost = aggregator.draws, aggregator.scale, aggregator.cost
        self.paper = aggregator.paper
        self.guarantees = aggregator.guarantees & _SURVIVING if n > 1 else aggregator.guarantees
        self.remember("kept")
        self.remember("age")

    def weigh(self, problem: Problem) -> Solution:
        """Kept weights, or new ones."""
        reused = self._reuse(problem.tasks)
        if reused is not None:
            return Solution(reused, 0.0, frozenset({"reused"}))
        if self.kept.numel():
            same_number(len(self.kept), problem.num_tasks)
        found = self.aggregator.weigh(problem)
        self._keep(problem.tasks, found.weights, problem.num_tasks)
        return found

    def ready_weights(self, present: Bool[Tensor, " tasks"]) -> Float[Tensor, " tasks"] | None:
        """The kept weights while they last, else what the method itself has ready."""
        tasks = np.flatnonzero(present.cpu().numpy())
        reused = self._reuse(tasks)
        if reused is None:
            ready = self.aggregator.ready_weights(present)
            if ready is not None and tasks.size:
                self._keep(tasks, ready.cpu().double().numpy()[tasks], len(present))
                self.flags = self.aggregator.flags
            return ready
        weights = np.zeros(len(present))
        weights[tasks] = reused
        self.flags = frozenset({"reused"})
        return torch.from_numpy(weights)

    def _keep(self, tasks: NDArray[np.int64], weights: Array, num_tasks: int) -> None:
        """Stores weights of age one; those of absent tasks are unknown."""
        kept = np.full(num_tasks, np.nan)
        if weights.any():  # no update at all, at a stationary point, is not for the next ones
            kept[tasks] = weights
        self.kept = torch.from_numpy(kept)
        self.age = torch.ones(1, dtype=torch.float64)

    def _reuse(self, tasks: NDArray[np.int64]) -> Array | None:
        """Kept weights of `tasks`, if there are some for all of them that are young enough."""
        if not self.kept.numel() or self.age.item() >= self.n or tasks.size == 0:
            return None
        if tasks[-1] >= len(self.kept):
            return None
        kept = self.kept.numpy()
        weights = kept[tasks]
        if np.isnan(weights).any() or not weights.any():
            return None
        self.age = self.age + 1.0
        if "weights-sum-to-one" in self.guarantees:
            return summing_to_one(weights)
        if self.scale == "mean":
            weights = weights * (np.count_nonzero(~np.isnan(kept)) / tasks.size)
        return np.asarray(weights)

    def reset(self) -> None:
        """Forgets the kept weights and resets the method."""
        super().reset()
        self.aggregator.reset()
