"""UPGrad: unconflicting projection of gradients."""

from collections.abc import Sequence
from typing import final

from polytask._linalg import Solution, solve_upgrad

from .base import GramianAggregator, Problem
from .preference import check_preference, preference_of


@final
class UPGrad(GramianAggregator):
    """Projects every gradient on the cone of non-conflicting directions, then averages.

    A direction y conflicts with task k if g_kᵀy < 0. With π_J(x) = argmin ‖y - x‖² over
    {y : g_kᵀy ≥ 0 for all k},

        d = Σ_i p_i π_J(g_i).

    In the Gramian G: π_J(g_i) = Jᵀv^(i), v^(i) = argmin vᵀGv over v ⪰ e_i, so the weights are
    w = Σ_i p_i v^(i). For two tasks with p = (1/2, 1/2) this is half of `PCGrad`.

    No task ever conflicts with the update, and the update is linear in the size of every gradient:
    tasks keep the influence that their scale gives them. Weights are at least p. Scale: mean.

    Args:
        preference: Positive relative importance p of each task; normalised to sum to one over the
            present tasks. Default: equal.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Raises:
        InvalidArgument: a preference is not positive, or their number is not that of the tasks.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> weights = UPGrad()(gradients @ gradients.T)
        >>> weights
        tensor([1.1111, 0.7895])
        >>> gradients @ (weights @ gradients) >= 0
        tensor([True, True])

    Note:
        Solved to rounding error, on gradients of equalised length. The authors' package adds 1e-4
        of the trace to the diagonal and falls back to averaging when the trace is below 1e-4, so
        that small tasks conflict there.

    Reference:
        Quinton, Rey, "Jacobian descent for multi-objective optimization", 2024, Proposition 1,
        https://arxiv.org/abs/2406.16232
    """

    guarantees = frozenset(
        {"non-conflicting", "non-negative-weights", "linear-under-scaling", "homogeneous"}
    )
    scale = "mean"
    paper = "Quinton & Rey 2024, https://arxiv.org/abs/2406.16232"

    def __init__(self, preference: Sequence[float] | None = None) -> None:
        super().__init__()
        self.preference = check_preference(preference)

    def weigh(self, problem: Problem) -> Solution:
        """One bound-constrained quadratic problem per task."""
        p = preference_of(self.preference, problem.tasks, problem.num_tasks)
        return solve_upgrad(problem.gramian, p, problem.precision)
