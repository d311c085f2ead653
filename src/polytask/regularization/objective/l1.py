"""The lasso penalty."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import at_least
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .soft import soft_threshold_, total


@final
@dataclass(eq=False)
class L1(Penalty):
    """λ Σ |w|: selects entries, and makes the others exactly zero.

    It acts by its proximal step after the optimizer's, sign(u) max(|u| − λt, 0) with the
    optimizer's step t per entry; a sub-gradient in the loss would never reach zero.

    Args:
        strength: λ, at least 0, on the scale of the objective. Scikit-learn's ``Lasso(alpha)`` has
            the data term (1/2n)‖y − Xw‖². With a mean squared error, (1/n)‖y − Xw‖², λ = 2 alpha;
            with a mean over n × T entries of a matrix, λ = 2 alpha / T.
        selector: Which weights.

    Raises:
        InvalidArgument: If `strength` is negative.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[0.5], [-2.0]])
        >>> L1(1.0).prox_([weights], [1.0])
        >>> weights.flatten().tolist()
        [0.0, -1.0]

    Reference:
        Tibshirani, Regression Shrinkage and Selection via the Lasso, Journal of the Royal
        Statistical Society B, 1996. https://doi.org/10.1111/j.2517-6161.1996.tb02080.x
    """

    strength: float
    selector: Selector = field(default_factory=Selector)

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """λ Σ |w|."""
        return self.strength * total([linalg.vector_norm(block, 1) for block in blocks])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The soft threshold at λ times the step."""
        soft_threshold_(blocks, steps, self.strength, self.scratch)

    def elastic(self) -> tuple[float, float]:
        """All of it is ‖w‖₁."""
        return self.strength, 0.0

    def describe(self) -> str:
        """In words, with λ."""
        return f"L1 (lasso), λ = {self.strength:g}: λ Σ |w|"
