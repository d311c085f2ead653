"""FAMO: fast adaptive multitask optimization."""

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import at_least, positive, require
from polytask.optim.adam import adam_step

from .base import LossBalancer, usable
from .shares import softmax_shares


@final
class FAMO(LossBalancer):
    """Equal relative improvement of all tasks, learned from losses before and after each update.

    With ℓ_k = L_k - b_k + ε, logits ξ (zero at the start) and z = softmax(ξ), an update descends

        objective = c Σ_k z_k log ℓ_k,     c = 1 / Σ_k (z_k / ℓ_k) held constant

    so that the weights w_k = c z_k / ℓ_k sum to 1. `observe` then hears the losses of the same
    batch after the update and moves the logits by one step of Adam along

        ∇ξ = z ⊙ (δ - zᵀδ) + γ ξ,     δ_k = log ℓ_k(before) - log ℓ_k(after)

    which takes weight from tasks that improved more than the others. One backward pass, whatever
    the number of tasks, and one forward pass more. Up to ε, the line of the update does not depend
    on the units of the losses. Scale: mean.

    Args:
        num_tasks: Number of tasks K, at least 1.
        learning_rate: Step length of the logits. Authors and default: 0.025.
        weight_decay: γ ≥ 0, pull of the weights towards equal ones, inside the gradient. Authors:
            1e-3 (NYUv2, CelebA, QM9), 1e-2 (Cityscapes). Default: 1e-3.
        lower_bounds: b_k, a bound that loss k cannot fall below, one per task. Default: 0 for all.
        epsilon: ε > 0, added to every loss. Authors and default: 1e-8.

    Shapes:
        losses: ``[tasks]``; state: logits, moments of Adam, logarithms before the update,
        ``[tasks]`` each.
        objective: scalar.

    Raises:
        InvalidArgument: An argument breaks its rule.

    Example:
        >>> balancer = FAMO(2)
        >>> losses = torch.tensor([1.0, 4.0], requires_grad=True)
        >>> balancer(losses).backward()
        >>> balancer.observe(torch.tensor([0.5, 4.0]))
        >>> losses.grad, balancer.logits
        (tensor([0.8000, 0.2000]), tensor([-0.0250,  0.0250], dtype=torch.float64))

    Note:
        An absent task is out of the softmax, and its logit and moments rest. A loss below its bound
        counts as ε. `observe` without an update before it, or with a loss that is not finite, moves
        nothing. The logits have a rule of their own and are buffers: no other optimizer must
        descend them. The authors also clip the gradient of the shared parameters to norm 1; that
        is the trainer's business.

    Reference:
        Liu, Feng, Stone, Liu, "FAMO: fast adaptive multitask optimization", NeurIPS 2023,
        Algorithm 1, https://arxiv.org/abs/2306.03792
    """

    guarantees = frozenset({"non-negative-weights", "weights-sum-to-one"})
    scale = "mean"
    cost = "one-backward-and-forward"
    observes: ClassVar[bool] = True
    paper = "Liu et al. 2023, https://arxiv.org/abs/2306.03792"

    logits: Tensor
    moments: Tensor
    before: Tensor
    pending: Tensor
    bounds: Tensor

    def __init__(
        self,
        num_tasks: int,
        learning_rate: float = 0.025,
        weight_decay: float = 1e-3,
        lower_bounds: Sequence[float] | None = None,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        positive("learning_rate", learning_rate)
        at_least("weight_decay", weight_decay, 0.0)
        positive("epsilon", epsilon)
        bounds = [0.0] * num_tasks if lower_bounds is None else list(lower_bounds)
        fits = len(bounds) == num_tasks and all(abs(bound) < float("inf") for bound in bounds)
        require(fits, "lower_bounds", f"hold {num_tasks} finite numbers", lower_bounds)
        self.num_tasks = num_tasks
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epsilon = epsilon
        kind = torch.float64
        self.register_buffer("bounds", torch.tensor(bounds, dtype=kind), persistent=False)
        self.register_buffer("logits", torch.zeros(num_tasks, dtype=kind))
        self.register_buffer("moments", torch.zeros(3, num_tasks, dtype=kind))
        self.register_buffer("before", torch.zeros(num_tasks, dtype=kind))
        self.register_buffer("pending", torch.zeros(num_tasks, dtype=torch.bool))

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The weighted logarithms; notes where the losses stand."""
        noted = usable(losses, present)
        self.before.copy_(torch.where(noted, self._logarithms(losses, present), self.before))
        self.pending.copy_(noted)
        distances = self._distances(losses, present)
        shares = softmax_shares(self.logits, present).to(losses.dtype)
        total = (shares / distances).sum().detach()
        c = 1.0 / total.clamp_min(torch.finfo(losses.dtype).tiny)  # nobody present: 0, not NaN
        return c * torch.dot(shares, distances.log())

    @torch.no_grad()
    def observe(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"] | None = None,
    ) -> None:
        """Moves the logits by what the update did to the losses of its own batch."""
        if present is None:
            present = torch.ones_like(self.pending)
        losses = torch.where(present, losses, 0.0)
        heard = usable(losses, self.pending & present)
        delta = torch.where(heard, self.before - self._logarithms(losses, heard), 0.0)
        shares = softmax_shares(self.logits, heard)
        slope = shares * (delta - torch.dot(shares, delta))
        logits, moments = adam_step(
            self.logits, slope, self.moments, heard, self.learning_rate, self.weight_decay
        )
        self.logits.copy_(logits)
        self.moments.copy_(moments)
        self.pending.zero_()

    def reset(self) -> None:
        """Equal weights, no moments."""
        for buffer in (self.logits, self.moments, self.before, self.pending):
            buffer.zero_()

    def _distances(self, losses: Tensor, present: Tensor) -> Tensor:
        """ℓ: distances to the bounds, never below ε and with slope 1 also there; 1 if absent."""
        distances = losses - self.bounds.to(losses.dtype)
        kept = distances + (distances.clamp_min(0.0) - distances).detach() + self.epsilon
        return torch.where(present, kept, 1.0)

    def _logarithms(self, losses: Tensor, present: Tensor) -> Tensor:
        """Log ℓ in double precision: differences of nearly equal numbers are taken of them."""
        return self._distances(losses.detach().double(), present).log()
