"""Smoothing weights over time."""

from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from polytask._checks import probability
from polytask._linalg import Array, Solution

from .base import GramianAggregator, Problem
from .gradvac import same_number

_SURVIVING = frozenset({"non-negative-weights", "weights-sum-to-one"})


@final
class MovingAverageWeights(GramianAggregator):
    """Averages the weights of a method over the updates.

        λ_t = α λ_{t-1} + (1 - α) λ̂_t

    with the method's weights λ̂_t; λ starts at the first λ̂. Smooth weights reduce the bias that
    noisy gradients cause, at the price of the method's promises about conflicts. An absent task
    keeps its λ; where the method's weights sum to one, those that are returned are the λ of the
    present tasks as parts of their sum. Averaging makes sense for weights whose size does not
    depend on the gradients.

    Args:
        aggregator: The method.
        decay: α, 0 ≤ α < 1. Paper: 1 - lr_t/lr_0; 0.9 is usual.

    Shapes:
        As those of the method; state: its own, and λ [tasks].

    Raises:
        InvalidArgument: decay is not in [0, 1).

    Example:
        >>> import torch
        >>> from polytask.aggregation import MGDA
        >>> method = MovingAverageWeights(MGDA(), decay=0.5)
        >>> _ = method(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        >>> method(torch.eye(2))
        tensor([0.5500, 0.4500])

    Reference:
        Zhou et al., "On the convergence of stochastic multi-objective gradient manipulation and
        beyond" (CR-MOGM), NeurIPS 2022, Algorithm 1.
    """

    average: Tensor

    def __init__(self, aggregator: GramianAggregator, decay: float = 0.9) -> None:
        super().__init__()
        probability("decay", decay)
        self.aggregator = aggregator
        self.decay = decay
        self.needs, self.needs_losses = aggregator.needs, aggregator.needs_losses
        self.draws, self.scale, self.cost = aggregator.draws, aggregator.scale, aggregator.cost
        self.paper = aggregator.paper
        self.guarantees = aggregator.guarantees & _SURVIVING
        self.remember("average")

    def weigh(self, problem: Problem) -> Solution:
        """The moving average, moved by the method's weights."""
        found = self.aggregator.weigh(problem)
        return found._replace(weights=self._mix(problem.tasks, found.weights, problem.num_tasks))

    def ready_weights(self, present: Bool[Tensor, " tasks"]) -> Float[Tensor, " tasks"] | None:
        """The moving average, where the method has weights ready that move it."""
        ready = self.aggregator.ready_weights(present)
        if ready is None:
            return None
        self.flags = self.aggregator.flags
        tasks = np.flatnonzero(present.cpu().numpy())
        weights = np.zeros(len(present))
        if tasks.size:
            weights[tasks] = self._mix(tasks, ready.cpu().double().numpy()[tasks], len(present))
        return torch.from_numpy(weights)

    def _mix(self, tasks: NDArray[np.int64], newest: Array, num_tasks: int) -> Array:
        """Moves λ of the present tasks by their newest weights, and returns their weights."""
        if self.average.numel() == 0:
            self.average = torch.full((num_tasks,), torch.nan, dtype=torch.float64)
        same_number(len(self.average), num_tasks)
        average = self.average.numpy().copy()
        past = average[tasks]
        mixed = self.decay * past + (1.0 - self.decay) * newest
        average[tasks] = np.where(np.isnan(past), newest, mixed)
        self.average = torch.from_numpy(average)
        moved = np.asarray(average[tasks])
        return summing_to_one(moved) if "weights-sum-to-one" in self.guarantees else moved

    def reset(self) -> None:
        """Forgets the average and resets the method."""
        super().reset()
        self.aggregator.reset()


def summing_to_one(weights: Array) -> Array:
    """Weights of at least 0, not all 0, as parts of their sum; as they are if it is one already."""
    total = float(weights.sum())
    return weights if abs(total - 1.0) < 1e-9 else weights / total
