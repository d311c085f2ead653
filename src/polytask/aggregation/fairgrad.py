"""FairGrad: a-fair resource allocation."""

from typing import final

import numpy as np

from polytask._checks import at_least
from polytask._linalg import Solution, solve_fair, solve_nash

from .base import GramianAggregator, Problem


@final
class FairGrad(GramianAggregator):
    """The a-fair update: from the sum through Nash bargaining to max-min, by one number.

        d = Jᵀw,     G w = w^(-1/a)  (element-wise),   w > 0

    which maximises Σ_k (g_kᵀd)^(1-a)/(1-a) over a ball. a = 0 weighs all tasks alike, a = 1 is
    `NashMTL`, a → ∞ tends to the direction of `MGDA`. Every task improves strictly for a > 0
    (g_kᵀd = w_k^(-1/a)). Scale: sum (weights 1 for orthonormal gradients); multiplying all
    gradients by s multiplies the update by s^((1-a)/(1+a)).

    Args:
        alpha: a ≥ 0. Authors' default 1, their experiments 2.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Raises:
        InvalidArgument: alpha is negative.

    Example:
        >>> import torch
        >>> FairGrad(alpha=2.0)(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([0.4714, 0.3195])

    Note:
        Newton's method on the strictly convex problem min ½wᵀGw - Σψ(w_k), ψ' = w^(-1/a), to
        rounding error, without the gradient clipping of the authors' scripts. At a
        Pareto-stationary point no solution exists: the weights are zero, flagged "stationary".

    Reference:
        Ban, Ji, "Fair resource allocation in multi-task learning", ICML 2024, Eq. 5,
        https://arxiv.org/abs/2402.15638
    """

    scale = "sum"
    paper = "Ban & Ji 2024, https://arxiv.org/abs/2402.15638"

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        at_least("alpha", alpha, 0.0)
        self.alpha = alpha
        promised = {"non-negative-weights", "homogeneous"}
        if alpha > 0.0:
            promised |= {"non-conflicting"}
        if alpha == 1.0:
            promised |= {"scale-invariant"}
        self.guarantees = frozenset(promised)

    def weigh(self, problem: Problem) -> Solution:
        """One strictly convex problem in K unknowns."""
        if self.alpha == 0.0:
            return Solution(np.ones(problem.tasks.size), 0.0, frozenset())
        if self.alpha == 1.0:
            return solve_nash(problem.gramian, problem.precision)
        return solve_fair(problem.gramian, self.alpha, problem.precision)
