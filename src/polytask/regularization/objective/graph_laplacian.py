"""Heads of related tasks near each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least
from polytask.optim.roles import Selector

from .base import Acts, Layout, Penalty
from .coupling import Coupling
from .edges import Edges, couplings, named_edges
from .select import heads
from .soft import total


@final
@dataclass(eq=False)
class GraphLaplacian(Penalty):
    """(r/2) Σ_{s<t} a_st ‖w_s − w_t‖² = (r/2) tr(W L Wᵀ): heads of related tasks stay near.

    w_t are the weights of task t's head, the columns of W; a_st ≥ 0 says how related two tasks
    are; L = diag(Σ_s a_st) − a is the graph's Laplacian. Tasks without an edge are left alone.
    The proximal step solves (I + r diag(s) L) w = u for every entry, with s the optimizer's steps
    of the tasks: exact for SGD and for Adam.

    Args:
        strength: r, at least 0, on the scale of the objective.
        edges: Pair of task names → a_st, each pair once; or the symmetric matrix a with zeros on
            its diagonal.
        tasks: Names of the rows of the matrix; empty for pairs.
        selector: Which weights; default: the heads of all tasks.

    Raises:
        InvalidArgument: If `strength` or a weight is negative, or a pair occurs twice; at binding,
            if an edge joins heads of different sizes.
        UnknownName: At binding, if an edge names a task that has no such head.

    Example:
        >>> import torch
        >>> penalty = GraphLaplacian(1.0, {("age", "sex"): 1.0})
        >>> penalty.columns([("age", "sex", "income")])
        >>> weights = torch.tensor([[1.0, 4.0, 9.0]])
        >>> penalty.prox_([weights], [1.0])
        >>> [round(w, 5) for w in weights.flatten().tolist()]
        [2.0, 3.0, 9.0]

    Note:
        With Adam, whose metric differs between tasks, each entry is a system of T equations,
        unless all tasks are joined equally.

    Reference:
        Evgeniou, Micchelli & Pontil, Learning Multiple Tasks with Kernel Methods, Journal of
        Machine Learning Research, 2005. https://jmlr.org/papers/v6/evgeniou05a.html
    """

    strength: float
    edges: Edges
    tasks: Sequence[str] = ()
    selector: Selector = field(default_factory=heads)

    acts: ClassVar[Acts] = "prox"
    layout: ClassVar[Layout] = "tasks"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        self._edges = named_edges(self.edges, self.tasks)
        self._couplings: list[Coupling] = []

    def columns(self, tasks: Sequence[tuple[str, ...]]) -> None:
        """Finds the edges of each block."""
        self._couplings = couplings(self._edges, tasks)

    def value(self, blocks: Sequence[Float[Tensor, "entries tasks"]]) -> Float[Tensor, ""]:
        """(r/2) tr(W L Wᵀ)."""
        pairs = zip(self._couplings, blocks, strict=True)
        return self.strength * total([coupling.energy(block) for coupling, block in pairs])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "entries tasks"]], steps: Sequence[Tensor | float]
    ) -> None:
        """Related columns approach each other."""
        for coupling, block, step in zip(self._couplings, blocks, steps, strict=True):
            coupling.prox_(block, step, self.strength)

    def describe(self) -> str:
        """In words, with r and the edges."""
        shown = [f"{s}–{t} {weight:g}" for (s, t), weight in list(self._edges.items())[:6]]
        more = f", … ({len(self._edges)} in all)" if len(self._edges) > 6 else ""
        return (
            f"graph Laplacian across heads: ({self.strength:g}/2) Σ a ‖w_s − w_t‖², "
            f"a: {', '.join(shown)}{more}"
        )
