"""The sparse group lasso."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import at_least, require
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .soft import soft_threshold_, total
from .weighted_group import group_threshold_


def _rows() -> Selector:
    return Selector(group="row")


@final
@dataclass(eq=False)
class SparseGroupLasso(Penalty):
    """λ r Σ |w| + λ (1 − r) Σ_g √p_g ‖w_g‖₂: zero groups, and zeros inside the others.

    The proximal step is the soft threshold, then the group threshold; in this order it is exact,
    with any step per entry, because the second keeps signs and zeros.

    Args:
        strength: λ, at least 0, on the scale of the objective.
        l1_ratio: r, between 0 (group lasso) and 1 (lasso); default 0.5.
        selector: Which weights, and what a group is; default: rows.

    Raises:
        InvalidArgument: If `strength` is negative or `l1_ratio` not between 0 and 1.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[4.0, 0.1, 0.1, 0.1]])
        >>> SparseGroupLasso(1.0).prox_([weights], [1.0])
        >>> weights.tolist()
        [[2.5, 0.0, 0.0, 0.0]]

    Reference:
        Simon, Friedman, Hastie & Tibshirani, A Sparse-Group Lasso, Journal of Computational and
        Graphical Statistics, 2013. https://doi.org/10.1080/10618600.2012.681250
    """

    strength: float
    l1_ratio: float = 0.5
    selector: Selector = field(default_factory=_rows)

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        require(0 <= self.l1_ratio <= 1, "l1_ratio", "be between 0 and 1", self.l1_ratio)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """Both terms."""
        lasso, group = self._parts()
        norms = [linalg.vector_norm(b, dim=1).sum() * b.shape[1] ** 0.5 for b in blocks]
        return lasso * total([linalg.vector_norm(b, 1) for b in blocks]) + group * total(norms)

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The soft threshold, then the group threshold."""
        lasso, group = self._parts()
        soft_threshold_(blocks, steps, lasso, self.scratch)
        strengths = [group * block.shape[1] ** 0.5 for block in blocks]
        group_threshold_(blocks, steps, strengths, self.scratch)

    def elastic(self) -> tuple[float, float]:
        """The part that is ‖w‖₁."""
        return self._parts()[0], 0.0

    def describe(self) -> str:
        """In words, with both strengths and the groups."""
        lasso, group = self._parts()
        return (
            f"sparse group lasso by {self.selector.group}: {lasso:g} Σ |w| + {group:g} Σ √p ‖w_g‖ "
            "over groups of p weights"
        )

    def _parts(self) -> tuple[float, float]:
        return self.strength * self.l1_ratio, self.strength * (1 - self.l1_ratio)
