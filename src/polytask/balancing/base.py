"""The contract of loss balancing: task losses in, one objective out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

GUARANTEES: Mapping[str, str] = {
    "non-negative-weights": "every weight is at least zero",
    "weights-sum-to-one": "the weights of the present tasks sum to one",
    "weights-sum-to-tasks": "the weights of the present tasks sum to their number",
    "linear-under-scaling": "multiplying L_k by c_k > 0 in every update leaves the weights w_k",
    "scale-invariant": "multiplying L_k by c_k > 0 in every update leaves the products w_k L_k",
    "line-invariant": "multiplying L_k by c_k > 0 in every update leaves the ratios of the w_k L_k",
    "homogeneous": "multiplying all losses by one c > 0 in every update leaves the ratios of w_k",
}
"""What a method may promise; `polytask.testing` checks every promise. The names are those of
aggregation: the gradients of losses multiplied by c_k are the gradients multiplied by c_k."""


class LossBalancer(nn.Module, ABC):
    """Turns the losses of the tasks into the scalar that is differentiated.

    The gradient of the objective with respect to the losses *is* the vector of task weights that
    reports show. Learned scalars are Parameters with `Role.BALANCE`; whatever else moves is a
    buffer of fixed shape, changed in place, so that whoever copies the buffers before an update and
    back after it has undone the update. `state_dict()` is complete and loads strictly into a fresh
    instance. A loss that is not finite gives an objective that is not, and enters no state.

    The facts are attributes of the class, so that tables and documents are made from the methods
    themselves.

    Attributes:
        guarantees: Promises that hold for every input, keys of `GUARANTEES`.
        scale: "sum" (weights near 1: the update grows with the number of tasks), "mean" (near
            1/tasks) or "logarithm" (w_k near 1/L_k: each task pulls as the logarithm of its loss
            does). Between them the effective learning rate differs.
        cost: What an update costs: "one-backward", or "one-backward-and-forward" if the losses of
            the batch are evaluated again after the update.
        draws: Whether random numbers are used.
        paper: Authors, year and link, or "" for a baseline.
    """

    num_tasks: int

    guarantees: frozenset[str] = frozenset()
    scale: Literal["sum", "mean", "logarithm"] = "mean"
    cost: Literal["one-backward", "one-backward-and-forward"] = "one-backward"
    draws: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    linear: ClassVar[bool] = False
    """Whether the weights do not depend on the losses: then the objectives of the micro-batches of
    an accumulation window add up to the objective of the window."""

    observes: ClassVar[bool] = False
    """Whether `observe` must be called after every update."""

    held_out: ClassVar[bool] = False
    """Whether training rows must be set aside, whose losses are handed to `measured`."""

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

    def observe(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"] | None = None,
    ) -> None:
        """Hears what the update did; called after it by whoever sees `observes`.

        Args:
            losses: Losses of the *same* batch, evaluated again with the same dropout masks, no
                running statistics moved.
            present: As in `forward`.
        """

    def measured(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"] | None = None,
    ) -> None:
        """Hears how well each task does; called by whoever sees `held_out`.

        Args:
            losses: Mean losses on training rows that were set aside for balancing (never the
                validation rows, which decide when to stop), at the start of the run and after every
                epoch.
            present: False for a task without labels among those rows.
        """

    def progress(self, fraction: float, epoch: float) -> None:
        """Where the run stands: fraction in [0, 1] and epochs done; for scheduled weights."""

    def end_epoch(self) -> None:
        """Hears that the updates of an epoch are over; for what is averaged over epochs."""

    def reset(self) -> None:
        """Restores the state of a fresh instance, learned scalars included."""


def usable(
    losses: Float[Tensor, " tasks"], present: Bool[Tensor, " tasks"]
) -> Bool[Tensor, " tasks"]:
    """The tasks that may enter a state: the present ones, or none if one of them is not finite.

    Nothing is read back from the device.
    """
    return present & torch.isfinite(torch.where(present, losses, 0.0)).all()
