"""The weights of all tasks near their mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least
from polytask.optim.roles import Selector

from .base import Acts, Layout, Penalty
from .select import heads
from .soft import total
from .task_mean import pull_to_mean_, spread


@final
@dataclass(eq=False)
class MeanRegularised(Penalty):
    """(r/2) Σ_t ‖w_t − w̄‖²: the tasks' weights stay near their mean w̄ = (1/T) Σ_t w_t.

    w_t are the weights of task t's head; heads of one size correspond to each other. The mean
    itself is not penalised: r → ∞ is one common head, r = 0 is T independent ones. The proximal
    step leaves the mean where the metric puts it and divides the deviations by 1 + r s:
    w_t = (u_t + r s_t m) / (1 + r s_t), m = Σ_t u_t/(1 + r s_t) / Σ_t 1/(1 + r s_t), with s_t the
    optimizer's step of the entry. It is exact for SGD and for Adam.

    Args:
        strength: r, at least 0, on the scale of the objective.
        selector: Which weights; default: the heads of all tasks.

    Raises:
        InvalidArgument: If `strength` is negative; at binding, if there is one task only.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[1.0, 3.0]])
        >>> penalty = MeanRegularised(1.0)
        >>> float(penalty.value([weights]))
        1.0
        >>> penalty.prox_([weights], [1.0])
        >>> weights.tolist()
        [[1.5, 2.5]]

    Note:
        Targets should have one scale (they have, standardised): weights that mean different
        units have no mean.

    Reference:
        Evgeniou & Pontil, Regularized Multi-Task Learning, KDD 2004.
        https://doi.org/10.1145/1014052.1014067
    """

    strength: float
    selector: Selector = field(default_factory=heads)

    acts: ClassVar[Acts] = "prox"
    layout: ClassVar[Layout] = "tasks"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(self, blocks: Sequence[Float[Tensor, "entries tasks"]]) -> Float[Tensor, ""]:
        """(r/2) Σ_t ‖w_t − w̄‖²."""
        return self.strength * total([spread(block) for block in blocks])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "entries tasks"]], steps: Sequence[Tensor | float]
    ) -> None:
        """Deviations from the mean shrink."""
        for block, step in zip(blocks, steps, strict=True):
            pull_to_mean_(block, step, self.strength)

    def describe(self) -> str:
        """In words, with r."""
        return f"mean-regularised across tasks: ({self.strength:g}/2) Σ ‖w_task − w_mean‖²"
