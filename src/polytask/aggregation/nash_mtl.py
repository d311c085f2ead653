"""Nash-MTL: multi-task learning as a bargaining game."""

from typing import final

import numpy as np

from polytask._checks import positive
from polytask._linalg import Solution, solve_nash

from .base import GramianAggregator, Problem


@final
class NashMTL(GramianAggregator):
    """The Nash bargaining solution: every task gains in proportion to what it asks.

        d = Jᵀα,     G α = 1/α  (element-wise),   α > 0

    which maximises Σ_k log(g_kᵀd) over directions of given length. Every task improves strictly
    (g_kᵀd = 1/α_k), and the update does not depend on the size of any gradient. Its length is
    always √K: the size of the gradients, which tells other methods that they are near the
    optimum, is gone, so a decaying learning rate is needed. Scale: fixed norm.

    Args:
        max_norm: Largest length of the update, or None. Because ‖d‖ = √K always, clipping is no
            safeguard but a constant factor min(1, max_norm/√K): the authors' code clips at 1, which
            binds at every step and makes ‖d‖ = 1 for any number of tasks.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Raises:
        InvalidArgument: max_norm is not positive.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = NashMTL()(gradients @ gradients.T)
        >>> weights, torch.linalg.vector_norm(weights @ gradients)
        (tensor([0.5915, 0.4071]), tensor(1.4142))

    Note:
        Damped Newton on the strictly convex problem min ½αᵀGα - Σ log α_k, to rounding error. The
        authors solve 20 linearised programs a step and reuse the last weights if the solver fails;
        to solve only every n steps, wrap it in `EveryN`. At a Pareto-stationary point no solution
        exists: the weights are zero, flagged "stationary".

    Reference:
        Navon et al., "Multi-task learning as a bargaining game", ICML 2022, Claim 3.1,
        https://arxiv.org/abs/2202.01017
    """

    guarantees = frozenset(
        {"non-conflicting", "non-negative-weights", "scale-invariant", "homogeneous"}
    )
    scale = "fixed-norm"
    paper = "Navon et al. 2022, https://arxiv.org/abs/2202.01017"

    def __init__(self, max_norm: float | None = None) -> None:
        super().__init__()
        if max_norm is not None:
            positive("max_norm", max_norm)
        self.max_norm = max_norm

    def weigh(self, problem: Problem) -> Solution:
        """One strictly convex problem in K unknowns."""
        found = solve_nash(problem.gramian, problem.precision)
        if self.max_norm is None:
            return found
        length = float(np.sqrt((found.weights > 0.0).sum()))
        return found._replace(weights=found.weights * min(1.0, self.max_norm / max(length, 1.0)))
