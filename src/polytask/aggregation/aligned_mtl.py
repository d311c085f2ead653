"""Aligned-MTL: independent component alignment."""

from collections.abc import Sequence
from typing import Literal, final

from polytask._checks import one_of
from polytask._linalg import Solution, solve_aligned_mtl

from .base import GramianAggregator, Problem
from .preference import check_preference, preference_of

_SCALES = ("min", "median", "rmse")


@final
class AlignedMTL(GramianAggregator):
    """Rotates and rescales the gradients until they are orthogonal and equally long.

    With the eigen-decomposition G = VΛVᵀ of the Gramian,

        w = √σ V Λ^(-1/2) Vᵀ p,     d = Jᵀw

    so that the condition number of the system of gradients becomes one. Weights may be negative,
    and the update may conflict with a task. Scale: mean.

    Args:
        preference: Positive relative importance p of each task; normalised to sum to one over the
            present tasks. Default: equal. The authors use p = 1, which is K times longer.
        sigma: Size of the aligned gradients: "min" (paper), the smallest eigenvalue, "median" the
            lower median, "rmse" the mean of the eigenvalues.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Raises:
        InvalidArgument: a preference is not positive, or their number is not that of the tasks.
        UnknownName: there is no such sigma.

    Example:
        >>> import torch
        >>> AlignedMTL()(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([0.5591, 0.4083])

    Note:
        What remains of a gradient beyond the others is left out, flagged "rank-deficient", if it is
        a rounding error of the Gramian (K · eps of the gradient's own squared norm, eps of the
        precision in which the Gramian was accumulated): kept, it would shrink the update to the
        size of rounding errors. Public code compares eigenvalues with eps of the largest one, and
        so leaves out tasks with small gradients, too.

    Reference:
        Senushkin, Patakin, Kuznetsov, Konushin, "Independent component alignment for multi-task
        learning", CVPR 2023, Eq. 15 and Algorithm 1, https://arxiv.org/abs/2305.19000
    """

    guarantees = frozenset({"homogeneous"})
    scale = "mean"
    paper = "Senushkin et al. 2023, https://arxiv.org/abs/2305.19000"

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        sigma: Literal["min", "median", "rmse"] = "min",
    ) -> None:
        super().__init__()
        one_of("sigma", sigma, _SCALES)
        self.preference = check_preference(preference)
        self.sigma = sigma

    def weigh(self, problem: Problem) -> Solution:
        """One symmetric eigen-decomposition."""
        p = preference_of(self.preference, problem.tasks, problem.num_tasks)
        return solve_aligned_mtl(problem.gramian, p, self.sigma, problem.precision)
