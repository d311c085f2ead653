"""What one multi-task backward pass tells."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

ASSEMBLED = "assembled"
"""Flag: the shared gradient was put together from the task gradients in memory."""

ONE_BY_ONE = "one-by-one"
"""Flag: the task gradients came from one backward pass per task."""

TOGETHER = "together"
"""Flag: the task gradients came from one backward pass for all tasks."""

ONE_BACKWARD = "one-backward"
"""Flag: the shared gradient came from one ordinary backward pass with known weights."""

HEADS_WEIGHTED = "heads-weighted"
"""Flag: what only one task reaches got that task's gradient times its weight."""

OVER_BUDGET = "over-memory-budget"
"""Flag: the Gramian was added up over parts of the model, each of which was forgotten at once."""

NO_WEIGHTS = "not-a-weighted-sum"
"""Flag: the method combines coordinates; there are no task weights (they are NaN)."""


class BackwardReport(NamedTuple):
    """Weights and geometry of one update.

    Args:
        weights: Weight of each task's gradient in the update.
        gramian: Inner products of the task gradients, or None if they were not needed; of a method
            that asks for norms only, the diagonal.
        present: Tasks that had labels in this update.
        flags: Facts such as ``"stationary"``, ``"not-converged"``, ``"assembled"``.
    """

    weights: Float[Tensor, " tasks"]
    gramian: Float[Tensor, "tasks tasks"] | None
    present: Bool[Tensor, " tasks"]
    flags: frozenset[str]
