"""GradVac: gradient vaccine."""

from typing import final

import numpy as np
import torch
from torch import Tensor

from polytask._checks import require
from polytask._linalg import STATIONARY, VACCINE_LIMIT, Solution, vaccine_weights
from polytask._random import RandomSource

from .base import GramianAggregator, Problem
from .pcgrad import order_among


@final
class GradVac(GramianAggregator):
    """Moves every gradient towards the others until usual cosines are reached.

    As `PCGrad`, but instead of removing negative cosines it restores the moving average φ̂_ij of the
    cosines seen so far, also between gradients that do not conflict. For every i, with g ← g_i, and
    for j ≠ i in random order:

        φ = cos(g, g_j)
        if φ < φ̂_ij:  g ← g + ‖g‖ (φ̂_ij √(1 - φ²) - φ √(1 - φ̂_ij²)) / (‖g_j‖ √(1 - φ̂_ij²)) · g_j
        φ̂_ij ← (1 - β) φ̂_ij + β φ

    φ̂ starts at zero, so that the first call equals `PCGrad`. The update may conflict. Scale: sum.

    Args:
        beta: β, weight of the newest cosine, between 0 and 1. Paper: 1e-2; public packages: 0.5.
        seed: Seed of the generator that draws the orders; it is part of the state.

    Shapes:
        gramian [tasks, tasks] → weights [tasks]; state φ̂ [tasks, tasks].

    Raises:
        InvalidArgument: β is outside [0, 1], or the number of tasks has changed.

    Example:
        >>> import torch
        >>> method, gramian = GradVac(), torch.tensor([[18.0, -22.0], [-22.0, 38.0]])
        >>> method(gramian), method(gramian)
        (tensor([2.2222, 1.5789]), tensor([1.8580, 1.4064]))

    Note:
        Cosines are clamped to [-1, 1], and targets to 1 - 1e-6: making two gradients parallel needs
        an infinite weight. Public code takes √(1 - φ²) of a rounding error above one, and keeps the
        NaN. One φ̂ for the whole model; the paper also offers one per layer.

    Reference:
        Wang, Tsvetkov, Firat, Cao, "Gradient vaccine: investigating and improving multi-task
        optimization in massively multilingual models", ICLR 2021, Eq. 5 and Algorithm 1,
        https://arxiv.org/abs/2010.05874
    """

    guarantees = frozenset({"non-negative-weights", "linear-under-scaling", "homogeneous"})
    scale = "sum"
    draws = True
    paper = "Wang et al. 2021, https://arxiv.org/abs/2010.05874"

    cosines: Tensor

    def __init__(self, beta: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        require(0.0 <= beta <= 1.0, "beta", "be between 0 and 1", beta)
        self.beta = beta
        self.random = RandomSource(seed)
        self.remember("cosines")

    def weigh(self, problem: Problem) -> Solution:
        """K - 1 parallel sweeps over the coefficients; moves the average cosines."""
        size = problem.num_tasks
        if self.cosines.numel() == 0:
            self.cosines = torch.zeros(size, size, dtype=torch.float64)
        same_number(self.cosines.shape[0], size)
        order = self.random.orders(problem.tasks.size)
        rows = np.flatnonzero(np.diagonal(problem.gramian) > 0.0)
        if rows.size == 0:
            return Solution(np.ones(problem.tasks.size), 0.0, frozenset({STATIONARY}))
        block = np.ix_(problem.tasks[rows], problem.tasks[rows])
        targets = self.cosines.numpy().copy()
        weights = np.zeros(problem.tasks.size)
        weights[rows], targets[block] = vaccine_weights(
            problem.gramian[np.ix_(rows, rows)],
            np.minimum(targets[block], VACCINE_LIMIT),
            order_among(order, rows),
            self.beta,
        )
        self.cosines = torch.from_numpy(targets)
        return Solution(weights, 0.0, frozenset())

    def reset(self) -> None:
        """Forgets the cosines and starts the generator again at its seed."""
        super().reset()
        self.random.reset()


def same_number(known: int, given: int) -> None:
    """Requires the number of tasks that the state belongs to."""
    require(
        known == given,
        "gramian",
        f"hold the {known} tasks that the method's state belongs to",
        given,
        "Call reset() to start with other tasks.",
    )


def same_width(known: int, given: int) -> None:
    """Requires the number of parameters that remembered gradients belong to."""
    require(
        known == given,
        "jacobian",
        f"hold the {known} parameters that the method's state belongs to",
        given,
        "Name them with shared=, because a first update with labels of one task cannot tell which "
        "are shared; call reset() after freezing or releasing some.",
    )
