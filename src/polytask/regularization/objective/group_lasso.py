"""The group lasso."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import at_least
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .soft import total
from .weighted_group import group_threshold_


def _rows() -> Selector:
    return Selector(group="row")


@final
@dataclass(eq=False)
class GroupLasso(Penalty):
    """λ Σ_g √p_g ‖w_g‖₂: whole groups become exactly zero.

    w_g are the p_g weights of one group: an output unit (row), an input feature (column), a
    layer, or a feature across tasks. The norm is not squared. With Adam the proximal step is
    exact in Adam's metric: dividing the threshold by a mean of it would solve another problem.

    Args:
        strength: λ, at least 0, on the scale of the objective.
        selector: Which weights, and what a group is; default: rows.

    Raises:
        InvalidArgument: If `strength` is negative.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
        >>> GroupLasso(1.0).prox_([weights], [0.5**0.5])
        >>> [round(w, 6) for w in weights.flatten().tolist()]
        [2.4, 3.2, 0.0, 0.0]

    Reference:
        Yuan & Lin, Model Selection and Estimation in Regression with Grouped Variables, Journal of
        the Royal Statistical Society B, 2006. https://doi.org/10.1111/j.1467-9868.2005.00532.x
    """

    strength: float
    selector: Selector = field(default_factory=_rows)

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """λ Σ √p_g ‖w_g‖."""
        norms = [linalg.vector_norm(b, dim=1).sum() * b.shape[1] ** 0.5 for b in blocks]
        return self.strength * total(norms)

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The group threshold, exact in the optimizer's metric."""
        strengths = [self.strength * block.shape[1] ** 0.5 for block in blocks]
        group_threshold_(blocks, steps, strengths, self.scratch)

    def describe(self) -> str:
        """In words, with λ and the groups."""
        return (
            f"group lasso by {self.selector.group}, λ = {self.strength:g}: λ Σ √p ‖w_g‖ over "
            "groups of p weights"
        )
