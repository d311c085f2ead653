"""Joint feature selection across tasks by their largest weights (L1,∞)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least
from polytask.optim.roles import Selector

from .base import Acts, Layout, Penalty
from .select import heads
from .soft import total


@final
@dataclass(eq=False)
class JointFeaturesMax(Penalty):
    """λ Σ_i max_t |W_it|: a feature costs what its largest weight costs, and the others are free.

    W_i are the weights with which the heads of all tasks read feature i of the common
    representation; unused features become exactly zero for every task at once. Once a task uses a
    feature, the others use it at no further cost up to the same size, so that sizes in a row tend
    to be equal: for tasks that agree on how much a feature matters. `JointFeatures` (L2,1) is
    neutral about that.

    Args:
        strength: λ, at least 0, on the scale of the objective. All weights are zero from
            λ = max_i Σ_t |∂ loss/∂W_it| at W = 0 on.
        selector: Which weights; default: the heads of all tasks. They must read features of the
            same number.

    Raises:
        InvalidArgument: If `strength` is negative.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[3.0, -2.5, 1.0], [0.2, 0.3, 0.4]])
        >>> JointFeaturesMax(1.0).prox_([weights], [1.0])
        >>> weights.tolist()
        [[2.25, -2.25, 1.0], [0.0, 0.0, 0.0]]

    Reference:
        Turlach, Venables & Wright, Simultaneous Variable Selection, Technometrics, 2005.
        https://doi.org/10.1198/004017005000000139
        Quattoni, Carreras, Collins & Darrell, An Efficient Projection for L1,∞ Regularization,
        ICML 2009. https://doi.org/10.1145/1553374.1553484
    """

    strength: float
    selector: Selector = field(default_factory=heads)

    acts: ClassVar[Acts] = "prox"
    layout: ClassVar[Layout] = "features"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """λ Σ_i max_t |W_it|."""
        return self.strength * total([block.abs().amax(dim=1).sum() for block in blocks])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """Each row is cut off at its level, exactly in any diagonal metric."""
        for block, step in zip(blocks, steps, strict=True):
            cut = level(block.abs(), step, self.strength)
            block.clamp_(-cut, cut)

    def describe(self) -> str:
        """In words, with λ."""
        return (
            f"joint features by the largest weight (L1,∞ across tasks): {self.strength:g} "
            "Σ max |W_feature|"
        )


def level(
    sizes: Float[Tensor, "groups members"], step: Tensor | float, strength: float
) -> Float[Tensor, "groups 1"]:
    """The s ≥ 0 of each row at which min(|u|, s) minimises ½ Σ_i (w_i − u_i)² / t_i + λ max w_i.

    What is cut off satisfies Σ_i max(|u_i| − s, 0)/t_i = λ, or s = 0 if even all of it is too
    little: Σ_i |u_i|/t_i ≤ λ. A sum over any part of the row is at most that over the entries above
    s, so that the root of every part is a lower bound, and that of the right part is s. The right
    part holds the largest entries: s is the greatest root among those of the 1, 2, 3, … largest.

    Args:
        sizes: |u|, one group per row.
        step: t, a number or of the shape of `sizes`; at least 0, and positive per entry.
        strength: λ, at least 0.

    Example:
        >>> level(torch.tensor([[3.0, 2.5, 1.0]]), 1.0, 1.0).tolist()
        [[2.25]]
    """
    ordered, places = sizes.sort(dim=1, descending=True)
    if isinstance(step, Tensor):
        weights = step.gather(1, places).reciprocal_()
        # In units of the largest, so that no sum overflows.
        scale = weights.amax(dim=1, keepdim=True)
        weights.div_(scale)
        cost, among = strength / scale, weights.cumsum(dim=1)
        ordered = ordered * weights
    else:
        cost = sizes.new_full((), strength * step)
        among = torch.arange(1, sizes.shape[1] + 1, dtype=sizes.dtype, device=sizes.device)
    roots = (ordered.cumsum(dim=1) - cost) / among
    return roots.amax(dim=1, keepdim=True).clamp_min_(0)
