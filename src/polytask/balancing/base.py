"""The contract of loss balancing: task losses in, one objective out."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class LossBalancer(nn.Module, ABC):
    """Turns the losses of the tasks into the scalar that is differentiated.

    The gradient of the objective with respect to the losses *is* the vector of task weights that
    reports show. Learned scalars are Parameters with `Role.BALANCE`. `state_dict()` is complete
    and loads strictly into a fresh instance.
    """

    num_tasks: int

    linear: ClassVar[bool] = False
    """Whether the weights do not depend on the losses: then the objectives of the micro-batches of
    an accumulation window add up to the objective of the window."""

    def forward(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"] | None = None,
        counts: Float[Tensor, " tasks"] | None = None,
    ) -> Float[Tensor, ""]:
        """The objective; absent tasks are dropped here, once, for every method.

        Args:
            losses: Mean loss of each task over its labels in this update.
            present: False for a task without labels in this update; None means all present.
            counts: Sum of row weights behind each loss, for methods that weigh by labels.
        """
        if present is None:
            present = torch.ones_like(losses, dtype=torch.bool)
        return self.objective(torch.where(present, losses, 0.0), present, counts)

    @abstractmethod
    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The objective; losses of absent tasks are zero and must get no weight."""

    def progress(self, fraction: float, epoch: float) -> None:
        """Where the run stands: fraction in [0, 1] and epochs done; for scheduled weights."""
