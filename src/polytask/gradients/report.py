"""What one multi-task backward pass tells."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor


class BackwardReport(NamedTuple):
    """Weights and geometry of one update.

    Args:
        weights: Weight of each task's gradient in the update.
        gramian: Inner products of the task gradients, or None at the loss level.
        present: Tasks that had labels in this update.
        flags: Facts such as ``"stationary"``, ``"not-converged"``, ``"assembled"``.
    """

    weights: Float[Tensor, " tasks"]
    gramian: Float[Tensor, "tasks tasks"] | None
    present: Bool[Tensor, " tasks"]
    flags: frozenset[str]
