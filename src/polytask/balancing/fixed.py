"""Fixed weights: the user's own judgement."""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import require

from .linear import LinearBalancer


@final
class FixedWeights(LinearBalancer):
    """The mean of the losses with weights that never change.

    objective = Σ_k w_k L_k / Σ_k w_k over the present tasks. Only ratios matter: (1, 2) and
    (10, 20) are the same, and an absent task's share goes to the others in proportion. A task of
    weight 0 is evaluated and never trained; if no other task is present the objective is zero.

    Args:
        weights: One weight per task in the user's order; at least 0, one of them positive.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: If a weight is negative or not finite, or none is positive.

    Example:
        >>> FixedWeights([1, 3])(torch.tensor([1.0, 3.0])).item()
        2.5
    """

    values: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.num_tasks = len(weights)
        require(self.num_tasks >= 1, "weights", "hold one weight per task", list(weights))
        require(
            all(0 <= weight < math.inf for weight in weights),
            "weights",
            "be finite and at least 0",
            list(weights),
        )
        require(any(weight > 0 for weight in weights), "weights", "hold one above 0", list(weights))
        self.register_buffer("values", torch.tensor(list(weights), dtype=torch.float64))

    def relative(self, counts: Float[Tensor, " tasks"] | None) -> Float[Tensor, " tasks"]:
        """As given."""
        return self.values
