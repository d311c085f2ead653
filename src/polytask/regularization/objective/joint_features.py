"""Joint feature selection across tasks (L2,1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import at_least, require
from polytask.optim.roles import Selector

from .base import Acts, Layout, Penalty
from .select import heads
from .soft import shrink_, total
from .weighted_group import group_threshold_


@final
@dataclass(eq=False)
class JointFeatures(Penalty):
    """λ r Σ_i ‖W_i‖₂ + (λ (1 − r)/2) ‖W‖²: all tasks use the same few features.

    W_i are the weights with which the heads of all tasks read feature i of the common
    representation; unused features become exactly zero for every task at once.

    Args:
        strength: λ, at least 0. Scikit-learn's ``MultiTaskLasso(alpha)`` has the data term
            (1/2n)‖Y − XW‖²: with a sum over tasks of mean squared errors, λ = 2 alpha; with a mean
            over all n × T entries, λ = 2 alpha / T. Its ``coef_`` is Wᵀ.
        l1_ratio: r, between 0 (ridge) and 1 (only L2,1, the default); scikit-learn's
            ``MultiTaskElasticNet``.
        selector: Which weights; default: the heads of all tasks. They must read features of the
            same number.

    Raises:
        InvalidArgument: If `strength` is negative or `l1_ratio` not between 0 and 1.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
        >>> JointFeatures(1.0).prox_([weights], [1.0])
        >>> [round(w, 6) for w in weights.flatten().tolist()]
        [2.4, 3.2, 0.0, 0.0]

    Reference:
        Obozinski, Taskar & Jordan, Joint Covariate Selection and Joint Subspace Selection for
        Multiple Classification Problems, Statistics and Computing, 2010.
        https://doi.org/10.1007/s11222-008-9111-x
    """

    strength: float
    l1_ratio: float = 1.0
    selector: Selector = field(default_factory=heads)

    acts: ClassVar[Acts] = "prox"
    layout: ClassVar[Layout] = "features"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        require(0 <= self.l1_ratio <= 1, "l1_ratio", "be between 0 and 1", self.l1_ratio)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """Both terms."""
        group = total([linalg.vector_norm(block, dim=1).sum() for block in blocks])
        square = total([linalg.vector_norm(block).square() for block in blocks])
        return self.strength * (self.l1_ratio * group + (1 - self.l1_ratio) / 2 * square)

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The ridge part completes the square; then the group threshold in the new metric."""
        ridge = self.elastic()[1]
        if ridge > 0:
            shrink_(blocks, steps, ridge, self.scratch)
            steps = [step / (1 + ridge * step) for step in steps]
        strengths = [self.strength * self.l1_ratio] * len(blocks)
        group_threshold_(blocks, steps, strengths, self.scratch)

    def elastic(self) -> tuple[float, float]:
        """The part that is ½‖W‖²."""
        return 0.0, self.strength * (1 - self.l1_ratio)

    def describe(self) -> str:
        """In words, with λ."""
        group, ridge = self.strength * self.l1_ratio, self.elastic()[1]
        more = f" + ({ridge:g}/2) ‖W‖²" if ridge else ""
        return f"joint features (L2,1 across tasks): {group:g} Σ ‖W_feature‖{more}"
