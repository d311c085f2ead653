"""DB-MTL: dual-balancing of losses and gradients."""

from typing import final

import torch
from torch import Tensor

from polytask._checks import at_least, probability

from .base import GradientAggregator, Update
from .gradvac import same_number, same_width


@final
class DBMTL(GradientAggregator):
    """Balances losses by their logarithm and gradients by their length.

    With ĝ_k = ∇log(L_k + ε) = g_k / (L_k + ε) and its moving average m_k (zero at the start),

        m_k ← β_t m_k + (1 - β_t) ĝ_k,   β_t = β/t^σ
        α_k = max_j ‖m_j‖ / ‖m_k‖,       d = Σ_k α_k m_k

    every task contributes a vector of the length of the largest one. t counts the updates in which
    the task was present. Scale: sum.

    Args:
        beta: β, 0 ≤ β < 1, weight of the past. Public package: 0.9.
        sigma: σ ≥ 0, how fast the averaging fades.
        epsilon: ε ≥ 0, added to the losses; part of the method's definition.

    Shapes:
        jacobian [tasks, params], losses [tasks] → update [params]; state: m [tasks, params] and t
        [tasks].

    Raises:
        InvalidArgument: a number is out of its range, losses are missing, or the number of tasks or
            parameters has changed.

    Example:
        >>> import torch
        >>> gradients = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
        >>> DBMTL(beta=0.0)(gradients, torch.tensor([2.0, 5.0]))
        tensor([0.0647, 0.8441, 0.8441])

    Note:
        A task whose loss is not above -ε has no logarithm: it is left out of this update, flagged
        "loss-not-positive". A zero gradient gets α = 0 instead of infinity. The weights that are
        reported are the α_k, which multiply the m_k and not the g_k.

    Reference:
        Lin et al., "Dual-balancing for multi-task learning", 2023, Algorithm 1,
        https://arxiv.org/abs/2308.12029
    """

    needs_losses = True
    # Every contribution has the length of the largest: only a common factor passes through.
    guarantees = frozenset({"homogeneous", "non-negative-weights"})
    scale = "sum"
    paper = "Lin et al. 2023, https://arxiv.org/abs/2308.12029"

    averages: Tensor
    steps: Tensor

    def __init__(self, beta: float = 0.9, sigma: float = 0.0, epsilon: float = 1e-8) -> None:
        super().__init__()
        probability("beta", beta)
        at_least("sigma", sigma, 0.0)
        at_least("epsilon", epsilon, 0.0)
        self.beta, self.sigma, self.epsilon = beta, sigma, epsilon
        self.remember("averages")
        self.remember("steps")

    def combine(
        self, jacobian: Tensor, losses: Tensor | None, tasks: Tensor, num_tasks: int
    ) -> Update:
        """Moves the averages, then adds them at equal length."""
        assert losses is not None  # promised by needs_losses
        if self.averages.numel() == 0:
            self.averages = jacobian.new_zeros(num_tasks, jacobian.shape[1])
            self.steps = torch.zeros(num_tasks, dtype=torch.float64)
        same_number(len(self.averages), num_tasks)
        same_width(self.averages.shape[1], jacobian.shape[1])
        self.averages, self.steps = self.averages.to(jacobian), self.steps.to(jacobian.device)
        shifted = losses.double() + self.epsilon
        flags: set[str] = set()
        usable = shifted > 0.0
        if not bool(usable.all()):
            flags.add("loss-not-positive")
        self.steps = self.steps.index_add(0, tasks, usable.double())
        fade = self.beta / self.steps[tasks].clamp(min=1.0) ** self.sigma
        share = torch.where(usable, (1.0 - fade) / torch.where(usable, shifted, 1.0), 0.0)
        keep = torch.where(usable, fade, 1.0)
        old = self.averages[tasks]
        rows = keep.to(old)[:, None] * old + share.to(old)[:, None] * jacobian
        self.averages = self.averages.index_copy(0, tasks, rows)

        unit = rows.abs().amax(dim=1, keepdim=True)
        safe = torch.where(unit > 0, unit, torch.ones_like(unit))
        norms = (torch.linalg.vector_norm(rows / safe, dim=1) * unit[:, 0]).double()
        counted = usable & (norms > 0.0)
        largest = torch.where(counted, norms, 0.0).max()
        alpha = torch.where(counted, largest / torch.where(norms > 0.0, norms, 1.0), 0.0)
        # (row / norm) · largest: α itself may not fit into the dtype of the gradients.
        aligned = rows / torch.where(norms > 0.0, norms, 1.0).to(rows)[:, None]
        direction = (aligned * counted[:, None]).sum(0) * largest.to(rows)
        return Update(direction, alpha, frozenset(flags))
