"""Equal weights: the baseline of loss balancing."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import require

from .linear import LinearBalancer


@final
class EqualWeights(LinearBalancer):
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

    values: Tensor

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        self.num_tasks = num_tasks
        self.register_buffer("values", torch.ones(num_tasks), persistent=False)

    def relative(self, counts: Float[Tensor, " tasks"] | None) -> Float[Tensor, " tasks"]:
        """All the same."""
        return self.values
