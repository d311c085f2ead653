"""IMTL-G: impartial multi-task learning, the gradient half."""

from typing import final

from polytask._linalg import Solution, solve_imtl_g

from .base import GramianAggregator, Problem


@final
class IMTLG(GramianAggregator):
    """The update whose projections on all gradients are equal.

        dᵀg_k/‖g_k‖ equal for all k,     d = Jᵀα,   Σ_k α_k = 1;     α ∝ D⁻¹ C⁺ 1

    with the norms D and the cosine matrix C. Impartial: its line does not depend on the size of any
    gradient. For three tasks or more weights may be negative, and the common projection may be
    negative, too. For two tasks α = (‖g_2‖, ‖g_1‖) / (‖g_1‖ + ‖g_2‖). Scale: mean.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Example:
        >>> import torch
        >>> IMTLG()(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([0.5923, 0.4077])

    Note:
        The paper has no definition for linearly dependent gradients. The pseudo-inverse of the
        cosine matrix, not of the Gramian, keeps the line independent of the scales there (flag
        "rank-deficient"). If D⁻¹C⁺1 sums to zero, no α exists: the weights are zero, flagged
        "stationary". The other half of the paper's method scales the losses by learned factors.

    Reference:
        Liu et al., "Towards impartial multi-task learning", ICLR 2021, Eq. 6,
        https://openreview.net/forum?id=IMPnRXEWpvr
    """

    guarantees = frozenset({"line-invariant", "homogeneous"})
    scale = "mean"
    paper = "Liu et al. 2021, https://openreview.net/forum?id=IMPnRXEWpvr"

    def weigh(self, problem: Problem) -> Solution:
        """One linear system."""
        return solve_imtl_g(problem.gramian, problem.precision)
