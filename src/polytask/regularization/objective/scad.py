"""The smoothly clipped absolute deviation: a lasso that leaves large weights alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least, require
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .soft import total


@final
@dataclass(eq=False)
class SCAD(Penalty):
    """Σ p(w), with the slope λ of the lasso up to |w| = λ, falling to 0 at |w| = aλ.

    p(w) = λ|w| up to λ, (2aλ|w| − w² − λ²)/(2(a − 1)) up to aλ, and (a + 1)λ²/2 beyond. Small
    weights become zero as with the lasso, and large ones are not shrunk.

    The penalty is not convex, so training ends in one of several minima. The proximal step is the
    global minimum for each entry, whatever the optimizer's step t. For t < a − 1 it is, with
    b = |u|, max(b − tλ, 0) up to (1 + t)λ, ((a − 1)b − atλ)/(a − 1 − t) up to aλ, and b beyond.
    For larger t the one-dimensional problem has two minima, max(b − tλ, 0) and b; b is the better
    one beyond (a + 1 + t)λ/2, and from t = a + 1 beyond λ√((a + 1)t).

    Args:
        strength: λ, at least 0, on the scale of the objective.
        a: Where the slope reaches 0, in λ; above 2. The paper's value is 3.7.
        selector: Which weights.

    Raises:
        InvalidArgument: If `strength` is negative, or `a` not above 2.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[0.5], [-1.5], [4.0]])
        >>> SCAD(1.0).prox_([weights], [1.0])
        >>> weights.flatten().tolist()
        [0.0, -0.5, 4.0]

    Note:
        λ is a slope and a size of weights at once, so that another scale of the loss is no other λ:
        with a mean squared error, twice the data term (1/2n)‖y − Xw‖² of the papers, 2 alpha gives
        the slope of their alpha, with limits that are twice as large. `MCP` has a second argument
        for that. Weight decay beside it shrinks the large weights after all; set it to 0.

    Reference:
        Fan & Li, Variable Selection via Nonconcave Penalized Likelihood and its Oracle Properties,
        Journal of the American Statistical Association, 2001.
        https://doi.org/10.1198/016214501753382273
    """

    strength: float
    a: float = 3.7
    selector: Selector = field(default_factory=Selector)

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        require(2 < self.a < float("inf"), "a", "be above 2 and finite", self.a)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """Σ p(w)."""
        return total([self._of(block.abs()).sum() for block in blocks])

    def _of(self, size: Tensor) -> Tensor:
        inside = size.clamp(max=self.a * self.strength)
        bend = (inside - self.strength).clamp_min(0).square() / (2 * (self.a - 1))
        return self.strength * inside - bend

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The soft threshold, the line that leads out of it, and the weight itself."""
        strength, a, scratch = self.strength, self.a, self.scratch
        for u, step in zip(blocks, steps, strict=True):
            t = step if isinstance(step, Tensor) else u.new_full((), step).expand_as(u)
            size = torch.abs(u, out=scratch.like(u))
            soft = torch.sub(size, t, alpha=strength, out=scratch.like(u, 1)).clamp_min_(0)
            other = torch.sub(scratch.number(a - 1, u), t, out=scratch.like(u, 2))
            line = torch.mul(size, a - 1, out=scratch.like(u, 3))
            line.sub_(t, alpha=a * strength).div_(other)
            # Rounding near t = a − 1 must not carry the quotient past u.
            torch.minimum(line, size, out=line).masked_fill_(t >= a - 1, 0.0)
            torch.maximum(soft, line, out=soft)
            better = torch.add(t, a + 1, out=other).div_(2)
            root = torch.mul(t, a + 1, out=line).sqrt_()
            # The root is the geometric mean of t and a + 1, the other one the arithmetic mean.
            limit = torch.where(t < a + 1, better, root, out=better).clamp_min_(a).mul_(strength)
            torch.where(size <= limit, soft, size, out=soft)
            torch.copysign(soft, u, out=u)

    def describe(self) -> str:
        """In words, with λ and a."""
        return (
            f"SCAD, λ = {self.strength:g}, a = {self.a:g}: λ|w|, levelling off to a constant "
            f"beyond |w| = {self.a * self.strength:g}"
        )
