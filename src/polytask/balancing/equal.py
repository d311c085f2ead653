"""Equal weights: the baseline of loss balancing."""

from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import require

from .base import LossBalancer
from .mean import weighted_mean


@final
class EqualWeights(LossBalancer):
    """The mean of the losses of the tasks that have labels in the update.

    objective = Σ_k L_k / K' over the K' present tasks: the weights sum to 1 whatever is missing,
    so one learning rate fits any number of tasks.

    Args:
        num_tasks: Number of tasks K, at least 1.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: If `num_tasks` is below 1.

    Example:
        >>> EqualWeights(2)(torch.tensor([1.0, 3.0])).item()
        2.0
    """

    linear: ClassVar[bool] = True

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        self.num_tasks = num_tasks

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The mean over the present tasks."""
        return weighted_mean(losses, torch.ones_like(losses), present)
