"""Random loss weighting (RLW)."""

from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import require
from polytask._random import RandomSource

from .base import LossBalancer
from .shares import softmax_shares


@final
class RandomWeights(LossBalancer):
    """Draws new weights for every update.

        z ~ N(0, I),     w = softmax(z),     objective = Σ_k w_k L_k

    over the present tasks. It knows nothing of the tasks: in expectation it is the mean of the
    losses, with noise added to the gradient. That makes it the baseline which a method that claims
    to weigh tasks well has to beat. Scale: mean (the weights sum to 1).

    Args:
        num_tasks: Number of tasks K, at least 1.
        seed: Seed of the generator that draws z; it is part of the state.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: `num_tasks` is below 1.

    Example:
        >>> losses = torch.tensor([1.0, 3.0], requires_grad=True)
        >>> RandomWeights(2, seed=1)(losses).backward()
        >>> round(losses.grad.sum().item(), 6)
        1.0

    Note:
        z is drawn for all tasks in every update, also for absent ones, so that missing labels do
        not shift what the others get afterwards. It is drawn on the host and copied to the device.

    Reference:
        Lin, Ye, Zhang, Tsang, "Reasonable effectiveness of random weighting: a litmus test for
        multi-task learning", TMLR 2022, Section 3, https://arxiv.org/abs/2111.10603
    """

    guarantees = frozenset(
        {"non-negative-weights", "weights-sum-to-one", "linear-under-scaling", "homogeneous"}
    )
    scale = "mean"
    draws: ClassVar[bool] = True
    paper = "Lin et al. 2022, https://arxiv.org/abs/2111.10603"

    def __init__(self, num_tasks: int, seed: int = 0) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        self.num_tasks = num_tasks
        self.random = RandomSource(seed)

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The mean with drawn weights."""
        scores = self.random.normal(self.num_tasks)
        # A copy to the device that waits for nothing: the weights are known before the losses.
        scores = scores.to(device=losses.device, dtype=losses.dtype, non_blocking=True)
        return torch.dot(softmax_shares(scores, present), losses)

    def reset(self) -> None:
        """Starts the generator again at its seed."""
        self.random.reset()
