"""Heads of ordered tasks that change in few places."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least, require
from polytask.optim.roles import Selector

from .base import Acts, Layout, Penalty
from .chains import chains
from .select import heads
from .soft import total
from .total_variation import pull_together_


@final
@dataclass(eq=False)
class Fused(Penalty):
    """λ Σ_k ‖w_k − w_{k+1}‖₁ along an order of the tasks: each weight changes in few places.

    For tasks that stand in a row, such as the same score after 6, 12 and 24 months. w_k are the
    weights of the head of the k-th task; neighbours become exactly equal, entry by entry, except
    where the data want a step. A squared difference, `GraphLaplacian` on the chain, would spread
    a step over all tasks. Tasks that the order leaves out are left alone. The proximal step is
    exact for SGD and for Adam.

    Args:
        strength: λ, at least 0, on the scale of the objective.
        order: Names of the tasks, in their order; at least two.
        selector: Which weights; default: the heads of all tasks.

    Raises:
        InvalidArgument: If `strength` is negative, or `order` no list of two or more different
            names; at binding, if neighbours have heads of different sizes.
        UnknownName: At binding, if the order names a task that has no such head.

    Example:
        >>> import torch
        >>> penalty = Fused(1.0, ["month 6", "month 12", "month 24"])
        >>> penalty.columns([("month 12", "month 24", "month 6")])
        >>> weights = torch.tensor([[2.0, 9.0, 1.0]])
        >>> penalty.prox_([weights], [1.0])
        >>> weights.tolist()
        [[2.0, 8.0, 2.0]]

    Note:
        Targets should have one scale (they have, standardised). The work per weight grows with the
        square of the number of tasks.

    Reference:
        Tibshirani, Saunders, Rosset, Zhu & Knight, Sparsity and Smoothness via the Fused Lasso,
        Journal of the Royal Statistical Society B, 2005.
        https://doi.org/10.1111/j.1467-9868.2005.00490.x
        Zhou, Liu, Narayan & Ye, Modeling Disease Progression via Fused Sparse Group Lasso, KDD
        2012, for tasks. https://doi.org/10.1145/2339530.2339702
    """

    strength: float
    order: Sequence[str]
    selector: Selector = field(default_factory=heads)

    acts: ClassVar[Acts] = "prox"
    layout: ClassVar[Layout] = "tasks"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        require(
            isinstance(self.order, list | tuple)
            and all(isinstance(task, str) for task in self.order)
            and 2 <= len(self.order) == len(set(self.order)),
            "order",
            "be a list of at least two different names of tasks",
            self.order,
        )
        self._chains: list[list[list[int]]] = []

    def columns(self, tasks: Sequence[tuple[str, ...]]) -> None:
        """Finds the columns of neighbours in each block."""
        self._chains = chains(tuple(self.order), tasks)

    def value(self, blocks: Sequence[Float[Tensor, "entries tasks"]]) -> Float[Tensor, ""]:
        """λ Σ_k ‖w_k − w_{k+1}‖₁."""
        parts = [
            block[:, chain].diff(dim=1).abs().sum()
            for found, block in zip(self._chains, blocks, strict=True)
            for chain in found
        ]
        return self.strength * total(parts)

    def prox_(
        self, blocks: Sequence[Float[Tensor, "entries tasks"]], steps: Sequence[Tensor | float]
    ) -> None:
        """Neighbours approach each other, and stay together where they meet."""
        for found, block, step in zip(self._chains, blocks, steps, strict=True):
            for chain in found:
                part = block[:, chain]
                metric = step[:, chain] if isinstance(step, Tensor) else step
                pull_together_(part, metric, self.strength)
                block[:, chain] = part

    def describe(self) -> str:
        """In words, with λ and the order."""
        shown = list(self.order[:6]) + (["…"] if len(self.order) > 6 else [])
        return f"fused across heads {' → '.join(shown)}: {self.strength:g} Σ |w_task − w_next|"
