"""MGDA: the multiple-gradient descent algorithm."""

from typing import Literal, final

import numpy as np

from polytask._checks import one_of
from polytask._linalg import Array, Solution, solve_min_norm

from .base import GramianAggregator, Problem

_NORMALIZATIONS = ("none", "l2", "loss", "loss+")


@final
class MGDA(GramianAggregator):
    """The shortest convex combination of the gradients.

        w = argmin ‖Jᵀw‖²  over  {w ≥ 0, Σ_k w_k = 1},     d = Jᵀw

    Every task has a slope of at least ‖d‖² along the update, and d = 0 exactly where no direction
    improves all tasks (Pareto stationarity; flagged "stationary"). The combination is dominated by
    the smallest gradients; `normalization` weakens that. Scale: mean, and usually much shorter.

    Args:
        normalization: With n_k from the table, the weights are found on g_k / n_k; the update still
            combines the original gradients.

            ======== ==============
            none     1 (paper)
            l2       ‖g_k‖
            loss     L_k
            loss+    L_k ‖g_k‖
            ======== ==============

            A task whose loss is not positive gets weight 0 under the last two, and the flag
            "loss-not-positive".

    Shapes:
        gramian [tasks, tasks], losses [tasks] (for "loss" and "loss+") → weights [tasks].

    Raises:
        InvalidArgument: losses are missing although the normalisation needs them.
        UnknownName: there is no such normalisation.

    Example:
        >>> import torch
        >>> MGDA()(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([0.6000, 0.4000])

    Note:
        Solved as a linear complementarity problem to rounding error, vertices exactly. Public
        implementations use Frank-Wolfe iterations, which end 2 % to 70 % above the optimum. A zero
        gradient would make d = 0 for all; such a task is left out.

    Reference:
        Désidéri, "Multiple-gradient descent algorithm (MGDA)", C. R. Math. 2012; Sener, Koltun,
        "Multi-task learning as multi-objective optimization", NeurIPS 2018, Eq. 3,
        https://arxiv.org/abs/1810.04650
    """

    scale = "mean"
    paper = "Désidéri 2012; Sener & Koltun 2018, https://arxiv.org/abs/1810.04650"

    def __init__(self, normalization: Literal["none", "l2", "loss", "loss+"] = "none") -> None:
        super().__init__()
        one_of("normalization", normalization, _NORMALIZATIONS)
        self.normalization = normalization
        self.needs_losses = normalization in {"loss", "loss+"}
        promised = {"non-negative-weights", "weights-sum-to-one", "homogeneous"}
        # Slopes are at least ‖d‖² only for the gradients among which d is the shortest.
        self.guarantees = frozenset(
            promised | {"non-conflicting"} if normalization == "none" else promised
        )

    def weigh(self, problem: Problem) -> Solution:
        """One quadratic problem on the simplex."""
        gramian = problem.gramian
        if self.normalization == "none":
            return solve_min_norm(gramian, problem.precision)
        sizes = np.ones(problem.tasks.size)
        if self.normalization in {"l2", "loss+"}:
            norms = np.sqrt(np.diagonal(gramian))
            sizes *= np.where(norms > 0.0, norms, 1.0)
        if problem.losses is not None:
            positive = problem.losses > 0.0
            if not positive.any():
                return solve_min_norm(gramian, problem.precision)._replace(
                    flags=frozenset({"loss-not-positive"})
                )
            sizes *= np.where(positive, problem.losses, 1.0)
            if not positive.all():
                return self._without(problem, positive, sizes)
        return solve_min_norm(gramian / sizes[:, None] / sizes[None, :], problem.precision)

    def _without(
        self, problem: Problem, kept: "np.ndarray[tuple[int], np.dtype[np.bool_]]", sizes: Array
    ) -> Solution:
        """The solution on the tasks in `kept`; weight 0 for the others."""
        rows = np.flatnonzero(kept)
        small = (problem.gramian / sizes[:, None] / sizes[None, :])[np.ix_(rows, rows)]
        found = solve_min_norm(small, problem.precision)
        weights = np.zeros(kept.size)
        weights[rows] = found.weights
        return Solution(weights, found.residual, found.flags | {"loss-not-positive"})
