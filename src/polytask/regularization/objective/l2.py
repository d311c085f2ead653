"""The ridge penalty."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import at_least
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .soft import shrink_, total


@final
@dataclass(eq=False)
class L2(Penalty):
    """(λ/2) ‖w‖²: ridge. It shrinks every weight and selects none.

    It acts by its proximal step u / (1 + λt), which has the same minimum as SGD's weight decay λ.
    It is not the un-squared norm (that is `GroupLasso`), and not AdamW's decoupled decay, which
    solves another problem. Together with weight decay on the same parameter it would count twice,
    and is refused.

    Args:
        strength: λ, at least 0, on the scale of the objective. Scikit-learn's ``Ridge(alpha)`` on
            ‖y − Xw‖² is alpha = nλ for the data term (1/2n)‖y − Xw‖², and alpha = nλ/2 for a mean
            squared error.
        selector: Which weights.

    Raises:
        InvalidArgument: If `strength` is negative.

    Example:
        >>> import torch
        >>> float(L2(0.5).value([torch.tensor([[3.0, 4.0]])]))
        6.25

    Reference:
        Hoerl & Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems,
        Technometrics, 1970. https://doi.org/10.1080/00401706.1970.10488634
    """

    strength: float
    selector: Selector = field(default_factory=Selector)

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """(λ/2) ‖w‖²."""
        return self.strength / 2 * total([linalg.vector_norm(b).square() for b in blocks])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """Division by 1 + λ times the step."""
        shrink_(blocks, steps, self.strength, self.scratch)

    def elastic(self) -> tuple[float, float]:
        """All of it is ½‖w‖²."""
        return 0.0, self.strength

    def describe(self) -> str:
        """In words, with λ."""
        return f"L2 (ridge), λ = {self.strength:g}: (λ/2) ‖w‖²"
