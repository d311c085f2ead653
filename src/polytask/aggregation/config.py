"""ConFIG: conflict-free inverse gradients."""

from collections.abc import Sequence
from typing import final

from polytask._linalg import Solution, solve_config

from .base import GramianAggregator, Problem
from .preference import check_preference, preference_of


@final
class ConFIG(GramianAggregator):
    """The conflict-free direction with equal projections, as long as the gradients allow.

    With the normalised gradients in the rows of U,

        v = U⁺q,   v̂ = v/‖v‖,   d = (Σ_k g_kᵀv̂) v̂

    where q are the wanted projections on the normalised gradients. Computed from the cosine matrix
    C = UUᵀ alone: a = C⁺q, w_k = ℓ a_k/(‖g_k‖‖v‖), ‖v‖² = aᵀCa, ℓ = Σ_k ‖g_k‖ (Ca)_k/‖v‖. The line
    of d does not depend on the size of any gradient; with q equal it is that of `IMTLG`. Weights
    may be negative. Scale: sum.

    Args:
        preference: Positive wanted projection q of each task; only ratios matter. Default: equal.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Raises:
        InvalidArgument: a preference is not positive, or their number is not that of the tasks.

    Example:
        >>> import torch
        >>> ConFIG()(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([1.2265, 0.8441])

    Note:
        The authors work on the K x P matrix U; the Gramian form is equal and much cheaper. For
        linearly dependent gradients (flag "rank-deficient") U⁺q is the least-squares solution, and
        the update may conflict.

    Reference:
        Liu, Chu, Thuerey, "ConFIG: towards conflict-free training of physics informed neural
        networks", ICLR 2025, Eq. 2-4, https://arxiv.org/abs/2408.11104
    """

    guarantees = frozenset({"line-invariant", "homogeneous"})
    scale = "sum"
    paper = "Liu et al. 2025, https://arxiv.org/abs/2408.11104"

    def __init__(self, preference: Sequence[float] | None = None) -> None:
        super().__init__()
        self.preference = check_preference(preference)

    def weigh(self, problem: Problem) -> Solution:
        """One linear system."""
        q = preference_of(self.preference, problem.tasks, problem.num_tasks)
        return solve_config(problem.gramian, q, problem.precision)
