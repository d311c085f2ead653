"""MoCo: multi-objective optimization with gradient correction."""

from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from polytask._checks import at_least, one_of, positive, require
from polytask._linalg import project_simplex

from .base import GradientAggregator, Update
from .gradvac import same_number, same_width

_NORMALIZATIONS = ("none", "l2", "loss", "loss+")


@final
class MoCo(GradientAggregator):
    """MGDA on gradients that are tracked over time, with weights that move slowly.

    With the tracked gradients Y (rows y_k, zero at the start) and the weights λ (equal at the
    start), at every update

        Y ← Y - β (Y - J),     λ ← Π(λ - γ (YYᵀ + ρI) λ),     d = Yᵀλ

    where Π projects on the simplex {λ ≥ 0, Σλ = 1}. Averaging removes the bias that the noise of
    one mini-batch causes in `MGDA`. Scale: mean.

    Args:
        beta: β, share of the newest gradient, 0 < β ≤ 1. Authors: 0.1.
        gamma: γ > 0, step length of the weights; it acts on squared gradients, so its useful size
            depends on theirs, unless they are normalised. Authors: 0.1.
        rho: ρ ≥ 0, pull of the weights towards equal ones. Authors: 0.1 or 0.
        normalization: Divide y_k, for the weights and in the update, by 1 ("none"), by ‖y_k‖
            ("l2"), by L_k ("loss"), by L_k ‖y_k‖ ("loss+").

    Shapes:
        jacobian [tasks, params], losses [tasks] (for "loss" and "loss+") → update [params]; state:
        Y [tasks, params] and λ [tasks].

    Raises:
        InvalidArgument: a number is out of its range, losses are missing, or the number of tasks or
            parameters has changed.
        UnknownName: there is no such normalisation.

    Example:
        >>> import torch
        >>> method = MoCo(beta=0.5, gamma=0.1, rho=0.0)
        >>> method(torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])), method.weights
        (tensor([-0.1250,  0.5000,  0.5000]), tensor([0.6250, 0.3750]))

    Note:
        As in the paper, with constant β and γ. A public package replaces the projection by a
        softmax and rescales the gradients by L_k/‖g_k‖: another algorithm. An absent task keeps its
        y_k and its share of λ.

    Reference:
        Fernando et al., "Mitigating gradient bias in multi-objective learning: a provably
        convergent approach", ICLR 2023, Algorithm 1, https://arxiv.org/abs/2210.12624
    """

    guarantees = frozenset({"non-negative-weights"})
    scale = "mean"
    paper = "Fernando et al. 2023, https://arxiv.org/abs/2210.12624"

    tracked: Tensor
    shares: Tensor

    def __init__(
        self,
        beta: float = 0.1,
        gamma: float = 0.1,
        rho: float = 0.1,
        normalization: Literal["none", "l2", "loss", "loss+"] = "none",
    ) -> None:
        super().__init__()
        require(0.0 < beta <= 1.0, "beta", "be above 0 and at most 1", beta)
        positive("gamma", gamma)
        at_least("rho", rho, 0.0)
        one_of("normalization", normalization, _NORMALIZATIONS)
        self.beta, self.gamma, self.rho = beta, gamma, rho
        self.normalization = normalization
        self.needs_losses = normalization in {"loss", "loss+"}
        self.remember("tracked")
        self.remember("shares")

    def combine(
        self, jacobian: Tensor, losses: Tensor | None, tasks: Tensor, num_tasks: int
    ) -> Update:
        """Moves Y and λ, then combines."""
        if self.tracked.numel() == 0:
            self.tracked = jacobian.new_zeros(num_tasks, jacobian.shape[1])
            self.shares = torch.full((num_tasks,), 1.0 / num_tasks, dtype=torch.float64)
        same_number(len(self.tracked), num_tasks)
        same_width(self.tracked.shape[1], jacobian.shape[1])
        self.tracked = self.tracked.to(jacobian)
        rows = self.tracked[tasks] + self.beta * (jacobian - self.tracked[tasks])
        self.tracked = self.tracked.index_copy(0, tasks, rows)
        positions = tasks.cpu().numpy()

        # The Gramian of rows divided by their largest entry neither over- nor underflows.
        unit = rows.abs().amax(dim=1, keepdim=True)
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        scaled = rows / unit
        host = torch.cat([scaled @ scaled.T, unit], dim=1).double().cpu().numpy()
        units, relative = host[:, -1], host[:, :-1]
        divisors = np.ones(len(units))
        if self.normalization in {"l2", "loss+"}:
            divisors *= np.where(relative.any(axis=1), units * np.sqrt(np.diagonal(relative)), 1.0)
        flags: set[str] = set()
        if losses is not None:
            values = losses.double().cpu().numpy()
            divisors *= np.where(values > 0.0, values, 1.0)
            flags |= set() if (values > 0.0).all() else {"loss-not-positive"}
        factors = units / divisors
        everyone = self.shares.cpu().numpy().copy()
        mass = float(everyone[positions].sum())
        start = everyone[positions] / mass if mass > 0.0 else np.full(len(units), 1 / len(units))
        slopes = factors * (relative @ (factors * start)) + self.rho * start
        share = project_simplex(start - self.gamma * slopes)
        everyone[positions] = share * mass
        self.shares = torch.from_numpy(everyone)
        weights = torch.from_numpy(share / divisors).to(rows)
        return Update(weights @ rows, weights, frozenset(flags))
