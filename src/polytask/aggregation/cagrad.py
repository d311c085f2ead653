"""CAGrad: conflict-averse gradient descent."""

from typing import Literal, final

from polytask._checks import one_of, probability
from polytask._linalg import Solution, solve_cagrad

from .base import GramianAggregator, Problem

_RESCALINGS = ("none", "square", "linear")


@final
class CAGrad(GramianAggregator):
    """The direction near the mean gradient that treats the worst-off task best.

        d = argmax min_k g_kᵀd   subject to   ‖d - g_0‖ ≤ c ‖g_0‖,     g_0 = (1/K) Σ_k g_k

    c = 0 is plain averaging; c near 1 approaches the max-min direction of `MGDA`. Unlike the
    projections it may leave a conflict that the ball is too small to resolve. Weights are at least
    1/K and sum to at most what the ball allows. Scale: mean, (1 + c)/K for orthogonal gradients of
    equal length.

    Args:
        c: Radius of the ball relative to ‖g_0‖, 0 ≤ c < 1. Paper: 0.4 (NYUv2), 0.5 (toy problem).
        rescale: "none" (paper, Eq. 3), "square" divides by 1 + c², "linear" by 1 + c; the authors'
            experiments use "square".

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Raises:
        InvalidArgument: c is not in [0, 1).
        UnknownName: there is no such rescaling.

    Example:
        >>> import torch
        >>> CAGrad(c=0.5)(torch.tensor([[18.0, -22.0], [-22.0, 38.0]]))
        tensor([0.7041, 0.5000])

    Note:
        Solved by visiting supports, to rounding error. Where the formula of the paper is 0/0 (the
        point is Pareto stationary) the projection of g_0 on the non-conflicting cone is an optimal
        direction and is returned, flagged "stationary"; the public implementations return zero or
        divide by a constant there.

    Reference:
        Liu, Liu, Jin, Stone, Liu, "Conflict-averse gradient descent for multi-task learning",
        NeurIPS 2021, Eq. 3 and Algorithm 1, https://arxiv.org/abs/2110.14048
    """

    guarantees = frozenset({"non-negative-weights", "homogeneous"})
    scale = "mean"
    paper = "Liu et al. 2021, https://arxiv.org/abs/2110.14048"

    def __init__(
        self, c: float = 0.4, rescale: Literal["none", "square", "linear"] = "none"
    ) -> None:
        super().__init__()
        probability("c", c)
        one_of("rescale", rescale, _RESCALINGS)
        self.c = c
        self.rescale = rescale

    def weigh(self, problem: Problem) -> Solution:
        """One convex problem in K unknowns."""
        found = solve_cagrad(problem.gramian, self.c, problem.precision)
        divisor = {"none": 1.0, "square": 1.0 + self.c**2, "linear": 1.0 + self.c}[self.rescale]
        return found._replace(weights=found.weights / divisor)
