"""The elastic net."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import at_least, require
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .soft import shrink_, soft_threshold_, total


@final
@dataclass(eq=False)
class ElasticNet(Penalty):
    """λ r Σ |w| + (λ (1 − r)/2) ‖w‖²: selects, but keeps correlated features together.

    The proximal step is the soft threshold at λ r t, then the division by 1 + λ (1 − r) t, exact
    with a step t per entry.

    Args:
        strength: λ, at least 0; scikit-learn's alpha for the data term (1/2n)‖y − Xw‖², twice
            that for a mean squared error.
        l1_ratio: r, between 0 (ridge) and 1 (lasso); default 0.5.
        selector: Which weights.

    Raises:
        InvalidArgument: If `strength` is negative or `l1_ratio` not between 0 and 1.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[0.4], [-2.0]])
        >>> ElasticNet(1.0, l1_ratio=0.5).prox_([weights], [1.0])
        >>> weights.flatten().tolist()
        [0.0, -1.0]

    Reference:
        Zou & Hastie, Regularization and Variable Selection via the Elastic Net, Journal of the
        Royal Statistical Society B, 2005. https://doi.org/10.1111/j.1467-9868.2005.00503.x
    """

    strength: float
    l1_ratio: float = 0.5
    selector: Selector = field(default_factory=Selector)

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        require(0 <= self.l1_ratio <= 1, "l1_ratio", "be between 0 and 1", self.l1_ratio)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """Both terms."""
        lasso, ridge = self.elastic()
        return lasso * total([linalg.vector_norm(block, 1) for block in blocks]) + (
            ridge / 2
        ) * total([linalg.vector_norm(block).square() for block in blocks])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The soft threshold, then the division."""
        lasso, ridge = self.elastic()
        soft_threshold_(blocks, steps, lasso, self.scratch)
        shrink_(blocks, steps, ridge, self.scratch)

    def elastic(self) -> tuple[float, float]:
        """λ r and λ (1 − r)."""
        return self.strength * self.l1_ratio, self.strength * (1 - self.l1_ratio)

    def describe(self) -> str:
        """In words, with both strengths."""
        lasso, ridge = self.elastic()
        return f"elastic net: {lasso:g} Σ |w| + ({ridge:g}/2) ‖w‖²"
