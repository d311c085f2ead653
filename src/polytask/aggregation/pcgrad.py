"""PCGrad: projecting conflicting gradients."""

from typing import final

import numpy as np

from polytask._linalg import STATIONARY, Solution, pcgrad_weights
from polytask._random import RandomSource

from .base import GramianAggregator, Problem


@final
class PCGrad(GramianAggregator):
    """Removes from each gradient, one after another, its components against the others.

        for every i:  g ← g_i
            for j ≠ i in random order:  if gᵀg_j < 0:  g ← g - (gᵀg_j/‖g_j‖²) g_j

    with the original g_j; the update is the sum of the results. It runs on K x K coefficients of
    the gradients, whatever the number of parameters. For two tasks the update conflicts with
    neither; for more it may, and depends on the order. Scale: sum.

    Args:
        seed: Seed of the generator that draws the orders; it is part of the state.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Example:
        >>> import torch
        >>> PCGrad()(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([2.2222, 1.5789])

    Note:
        As in Algorithm 1 of the paper: j ≠ i only, a fresh random order for every i, and the sum.
        The authors' code discards the result of its shuffle, and public copies include j = i.

    Reference:
        Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient surgery for multi-task learning",
        NeurIPS 2020, Algorithm 1, https://arxiv.org/abs/2001.06782
    """

    guarantees = frozenset({"non-negative-weights", "linear-under-scaling", "homogeneous"})
    scale = "sum"
    draws = True
    paper = "Yu et al. 2020, https://arxiv.org/abs/2001.06782"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.random = RandomSource(seed)

    def weigh(self, problem: Problem) -> Solution:
        """K - 1 parallel sweeps over the coefficients."""
        order = self.random.orders(problem.tasks.size)
        alive = np.diagonal(problem.gramian) > 0.0
        rows = np.flatnonzero(alive)
        if rows.size == 0:
            return Solution(np.ones(alive.size), 0.0, frozenset({STATIONARY}))
        weights = np.zeros(alive.size)
        weights[rows] = pcgrad_weights(
            problem.gramian[np.ix_(rows, rows)], order_among(order, rows)
        )
        return Solution(weights, 0.0, frozenset())

    def reset(self) -> None:
        """Starts the generator again at its seed."""
        super().reset()
        self.random.reset()


def order_among(
    order: "np.ndarray[tuple[int, int], np.dtype[np.int64]]",
    rows: "np.ndarray[tuple[int], np.dtype[np.int64]]",
) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """The orders of the tasks in `rows` among themselves, in positions of `rows`."""
    if rows.size == order.shape[0]:
        return order
    position = np.full(order.shape[0], -1)
    position[rows] = np.arange(rows.size)
    moved = position[order[rows]]
    return np.asarray(moved[moved >= 0].reshape(rows.size, rows.size - 1))
