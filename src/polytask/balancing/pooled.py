"""The pooled loss: every label counts the same, whichever task it belongs to."""

from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask._checks import require
from polytask.errors import InvalidArgument

from .linear import LinearBalancer


@final
class PooledLoss(LinearBalancer):
    """The mean over all labels of the update; tasks with more labels weigh more.

    objective = Σ_k n_k L_k / Σ_k n_k, where n_k is the sum of the row weights over the labels of
    task k in the update. This is what one loss over the flattened table of labels would give.

    Args:
        num_tasks: Number of tasks K, at least 1.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: If `num_tasks` is below 1, or the counts are not given.

    Example:
        >>> import torch
        >>> losses, counts = torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0])
        >>> PooledLoss(2)(losses, counts=counts).item()
        1.5
    """

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        require(num_tasks >= 1, "num_tasks", "be at least 1", num_tasks)
        self.num_tasks = num_tasks

    def relative(self, counts: Float[Tensor, " tasks"] | None) -> Float[Tensor, " tasks"]:
        """The label counts."""
        if counts is None:
            raise InvalidArgument(
                "`counts` must be given, because PooledLoss weighs each task by its labels; got "
                "None. Pass the label counts of the update (`MultiTaskBackward.accumulate` takes "
                "them), or use EqualWeights."
            )
        return counts.detach()
