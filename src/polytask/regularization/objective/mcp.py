"""The minimax concave penalty: a lasso that leaves large weights alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least, positive
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .soft import total


@final
@dataclass(eq=False)
class MCP(Penalty):
    """Σ p(w), p(w) = λ|w| − w²/(2γ) up to |w| = γλ and γλ²/2 beyond: exact zeros without the bias.

    The lasso shrinks every weight that it keeps by the same amount. Here the pull weakens with the
    size of the weight and is gone beyond γλ. With γ → ∞ it is the lasso.

    The penalty is not convex, so training ends in one of several minima. The proximal step is the
    global minimum for each entry, whatever the optimizer's step t. For t < γ it is, with a = |u|,
    0 up to tλ, (a − tλ)/(1 − t/γ) up to γλ, and a beyond. For t ≥ γ the one-dimensional problem has
    two minima, 0 and a; a is the better one beyond λ√(γt).

    Args:
        strength: λ, at least 0, on the scale of the objective.
        gamma: γ, above 0; 3 by default. Small values keep more and are further from convex. If the
            loss has a curvature above 1/γ in each weight, loss and penalty together are convex in
            each.
        selector: Which weights.

    Raises:
        InvalidArgument: If `strength` is negative, or `gamma` not above 0.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[0.5], [-2.0], [4.0]])
        >>> MCP(1.0).prox_([weights], [1.0])
        >>> weights.flatten().tolist()
        [0.0, -1.5, 4.0]

    Note:
        γ has a scale too. Papers and skglm's ``MCPRegression(alpha, gamma)`` have the data term
        (1/2n)‖y − Xw‖²; with a mean squared error, (1/n)‖y − Xw‖², λ = 2 alpha and γ = gamma / 2.
        Weight decay beside it shrinks the large weights after all; set it to 0.

    Reference:
        Zhang, Nearly Unbiased Variable Selection under Minimax Concave Penalty, Annals of
        Statistics, 2010. https://doi.org/10.1214/09-AOS729
    """

    strength: float
    gamma: float = 3.0
    selector: Selector = field(default_factory=Selector)

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        positive("gamma", self.gamma)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """Σ p(w)."""
        return total([self._of(block.abs()).sum() for block in blocks])

    def _of(self, size: Tensor) -> Tensor:
        inside = size.clamp(max=self.gamma * self.strength)
        return self.strength * inside - inside.square() / (2 * self.gamma)

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The firm threshold where the step is below γ, else the hard threshold at λ√(γt)."""
        strength, gamma, scratch = self.strength, self.gamma, self.scratch
        for u, step in zip(blocks, steps, strict=True):
            t = step if isinstance(step, Tensor) else u.new_full((), step).expand_as(u)
            size = torch.abs(u, out=scratch.like(u))
            below = torch.sub(size, t, alpha=strength, out=scratch.like(u, 1))
            other = torch.sub(scratch.number(gamma, u), t, out=scratch.like(u, 2))
            below.clamp_min_(0).mul_(gamma).div_(other)
            # Rounding near t = γ must not carry the quotient past u.
            torch.minimum(below, size, out=below).masked_fill_(t >= gamma, 0.0)
            limit = torch.mul(t, gamma, out=other).sqrt_().clamp_min_(gamma).mul_(strength)
            torch.where(size <= limit, below, size, out=below)
            torch.copysign(below, u, out=u)

    def describe(self) -> str:
        """In words, with λ and γ."""
        return (
            f"MCP, λ = {self.strength:g}, γ = {self.gamma:g}: λ|w| − w²/2γ, constant beyond "
            f"|w| = {self.gamma * self.strength:g}"
        )
