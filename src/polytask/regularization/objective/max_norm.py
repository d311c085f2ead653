"""No unit's weights longer than a limit (max-norm constraint)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import positive, require
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .select import layers

_ITERATIONS = 20


@final
@dataclass(eq=False)
class MaxNorm(Penalty):
    """‖w_g‖₂ ≤ c for every group: a constraint, usually on the weights into each unit (rows).

    After each step of the optimizer the weights go to the nearest point that satisfies it. With
    one step for all that is w = u · min(1, c/‖u‖); in a metric s per entry (Adam) it is
    w = u / (1 + μ s) with the μ > 0 at which ‖w‖ = c, for groups that are longer than c.

    Args:
        limit: c, above 0; 3 to 4 is usual.
        selector: Which weights, and what a group is (row, column or layer); default: the rows of
            backbone, trunk and experts.

    Attributes:
        strength: 1, without effect; a constraint has no strength, and its value is 0.

    Raises:
        InvalidArgument: If `limit` is not above 0, or a group is an entry.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
        >>> MaxNorm(1.0).prox_([weights], [0.1])
        >>> [round(w, 6) for w in weights.flatten().tolist()]
        [0.6, 0.8, 0.3, 0.4]

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, Dropout: A Simple Way to Prevent
        Neural Networks from Overfitting, Journal of Machine Learning Research, 2014.
        https://jmlr.org/papers/v15/srivastava14a.html
    """

    limit: float
    selector: Selector = field(default_factory=layers)
    strength: float = field(default=1.0, init=False)

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        positive("limit", self.limit)
        require(
            self.selector.group in ("row", "column", "layer"),
            "selector.group",
            "be 'row', 'column' or 'layer'",
            self.selector.group,
            "The limit is on the length of a group of weights.",
        )

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """0: after each step every group is within the limit."""
        return blocks[0].new_zeros(())

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The projection, in the optimizer's metric; a block whose step is 0 waits."""
        for block, step in zip(blocks, steps, strict=True):
            if isinstance(step, Tensor):
                _shrink_(block, step, self.limit)
            if isinstance(step, Tensor) or step > 0:
                norms = linalg.vector_norm(block, dim=1, keepdim=True)
                block.mul_((self.limit / norms).clamp_max_(1))

    def describe(self) -> str:
        """In words, with c."""
        return f"max-norm by {self.selector.group}: ‖w‖ ≤ {self.limit:g}"


def _shrink_(block: Tensor, step: Tensor, limit: float) -> None:
    """Groups longer than the limit become u / (1 + μ s), as long as the limit up to rounding."""
    # 1/‖u/(1 + μs)‖ is concave and rises in μ, so that Newton's method on it does not overshoot
    # from this lower bound, which is the root itself if s is constant.
    norm = linalg.vector_norm(block, dim=1, keepdim=True)
    shrink = ((norm / limit - 1) / step.amax(dim=1, keepdim=True)).clamp_min_(0)
    if not bool((shrink > 0).any()):
        return
    accurate = limit * (1 + torch.finfo(block.dtype).eps ** (2 / 3))
    for _ in range(_ITERATIONS):
        divisor = 1 + shrink * step
        shrunk = block / divisor
        norm = linalg.vector_norm(shrunk, dim=1, keepdim=True)
        # (‖w‖ − c)/c · ‖w‖² / Σ w² s/(1 + μs): the Newton step of 1/‖w‖.
        slope = (shrunk.square() * step / divisor).sum(dim=1, keepdim=True)
        rise = (norm - limit) / limit * norm.square() / slope
        shrink += rise.masked_fill_(norm <= limit, 0.0)
        if bool((norm <= accurate).all()):
            break
    block.div_(1 + shrink * step)
