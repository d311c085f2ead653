"""The smooth Tchebycheff scalarization itself."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import positive, require

from .base import LossBalancer


@final
class PlainSmoothTchebycheff(LossBalancer):
    """A smooth maximum of the preferred distances of the losses to an ideal point.

        y_k = λ_k (L_k - z_k),     objective = μ log Σ_k exp(y_k / μ)
        w_k = λ_k softmax(y / μ)_k

    over the present tasks, λ rescaled to sum to 1 over them. For μ → 0 it is the maximum of the
    y_k, whose minimum for a given preference is one Pareto-optimal point, also where the front is
    not convex and no weighted sum finds it. Losses are compared as they are, so they should have
    the same units; `SmoothTchebycheff` is the variant that compares them with their own past.
    Scale: mean (the weights are at most λ_k).

    Args:
        num_tasks: Number of tasks K, at least 1.
        mu: μ > 0, the smoothing, in units of λL. The paper tries 0.01 to 1. Default: 1.
        preference: λ_k > 0, one per task; only ratios matter. Default: all the same.
        ideal: z_k, the best value that loss k could have, one per task. Default: 0 for all.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: An argument breaks its rule.

    Example:
        >>> losses = torch.tensor([1.0, 4.0, 9.0], requires_grad=True)
        >>> objective = PlainSmoothTchebycheff(3)(losses)
        >>> objective.backward()
        >>> round(objective.item(), 4), losses.grad
        (3.2298, tensor([0.0184, 0.0500, 0.2649]))

    Reference:
        Lin et al., "Smooth Tchebycheff scalarization for multi-objective optimization", ICML 2024,
        Eq. 9, https://arxiv.org/abs/2402.19078
    """

    guarantees = frozenset({"non-negative-weights"})
    scale = "mean"
    paper = "Lin et al. 2024, https://arxiv.org/abs/2402.19078"

    preference: Tensor
    ideal: Tensor

    def __init__(
        self,
        num_tasks: int,
        mu: float = 1.0,
        preference: Sequence[float] | None = None,
        ideal: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        positive("mu", mu)
        wishes = [1.0] * num_tasks if preference is None else list(preference)
        valid = len(wishes) == num_tasks and all(0.0 < wish < float("inf") for wish in wishes)
        require(valid, "preference", f"hold {num_tasks} positive numbers", preference)
        point = [0.0] * num_tasks if ideal is None else list(ideal)
        valid = len(point) == num_tasks and all(abs(value) < float("inf") for value in point)
        require(valid, "ideal", f"hold {num_tasks} finite numbers", ideal)
        self.num_tasks = num_tasks
        self.mu = mu
        kind = torch.float64
        self.register_buffer("preference", torch.tensor(wishes, dtype=kind), persistent=False)
        self.register_buffer("ideal", torch.tensor(point, dtype=kind), persistent=False)

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The smooth maximum over the present tasks."""
        wishes = torch.where(present, self.preference, 0.0)
        wishes = wishes / wishes.sum().clamp_min(torch.finfo(wishes.dtype).tiny)
        distances = wishes.to(losses.dtype) * (losses - self.ideal.to(losses.dtype))
        somebody = present.any()
        scores = torch.where(present | ~somebody, distances / self.mu, -torch.inf)
        return torch.where(somebody, self.mu * scores.logsumexp(0), 0.0)
