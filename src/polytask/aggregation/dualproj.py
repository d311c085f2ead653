"""DualProj: the mean gradient, projected once."""

from collections.abc import Sequence
from typing import final

from polytask._linalg import Solution, solve_dualproj

from .base import GramianAggregator, Problem
from .preference import check_preference, preference_of


@final
class DualProj(GramianAggregator):
    """Averages the gradients, then projects the mean on the cone of non-conflicting directions.

        d = argmin ‖y - Jᵀp‖²  over  {y : g_kᵀy ≥ 0 for all k},     d = Jᵀw,

        w = argmin vᵀGv  over  v ⪰ p.

    No task conflicts with the update; weights are at least p. Unlike `UPGrad`, which projects every
    gradient before averaging, the result is not linear in the size of a gradient: a large gradient
    can decide which side of a conflict the mean is on. Scale: mean.

    Args:
        preference: Positive relative importance p of each task; normalised to sum to one over the
            present tasks. Default: equal.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Raises:
        InvalidArgument: a preference is not positive, or their number is not that of the tasks.

    Example:
        >>> import torch
        >>> DualProj()(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([0.6111, 0.5000])

    Note:
        Solved to rounding error, without the ridge of the public implementation.

    Reference:
        Lopez-Paz, Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017, Eq. 11,
        https://arxiv.org/abs/1706.08840
    """

    guarantees = frozenset({"non-conflicting", "non-negative-weights", "homogeneous"})
    scale = "mean"
    paper = "Lopez-Paz & Ranzato 2017, https://arxiv.org/abs/1706.08840"

    def __init__(self, preference: Sequence[float] | None = None) -> None:
        super().__init__()
        self.preference = check_preference(preference)

    def weigh(self, problem: Problem) -> Solution:
        """One bound-constrained quadratic problem."""
        p = preference_of(self.preference, problem.tasks, problem.num_tasks)
        return solve_dualproj(problem.gramian, p, problem.precision)
