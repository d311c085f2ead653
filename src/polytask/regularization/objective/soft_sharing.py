"""Networks of the tasks near each other, layer by layer."""

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
from .soft import total


@final
@dataclass(eq=False)
class SoftSharing(Penalty):
    """Σ_layers (r/2) Σ_{s<t} a_st ‖θ_s − θ_t‖²: each task has its own network, near the others'.

    θ_t are the weights of task t in one layer; weights of tasks correspond if their names differ
    only in the task's name, and heads if their sizes are equal. What all tasks share already is
    left alone. The proximal step solves (I + r diag(s) L) θ = u for every entry, with L the
    Laplacian of a and s the optimizer's steps: exact for SGD and for Adam.

    Args:
        strength: r, at least 0, on the scale of the objective. With all pairs joined this is
            `MeanRegularised` with r · T.
        edges: Pair of task names → a_st ≥ 0, each pair once; or the symmetric matrix a with zeros
            on its diagonal; None: 1 for all pairs.
        tasks: Names of the rows of the matrix; empty for pairs.
        selector: Which weights; default: those of backbone, trunk, experts and heads.

    Raises:
        InvalidArgument: If `strength` or a weight is negative, or a pair occurs twice; at binding,
            if no weights correspond to each other.
        UnknownName: At binding, if an edge names a task that has no such weights.

    Example:
        >>> import torch
        >>> penalty = SoftSharing(0.5)
        >>> penalty.columns([("age", "sex")])
        >>> weights = torch.tensor([[0.0, 4.0]])
        >>> float(penalty.value([weights]))
        4.0
        >>> penalty.prox_([weights], [1.0])
        >>> weights.tolist()
        [[1.0, 3.0]]

    Note:
        With Adam and unequal edges each entry is a system of T equations.

    Reference:
        Duong, Cohn, Bird & Cook, Low Resource Dependency Parsing: Cross-lingual Parameter Sharing
        in a Neural Network Parser, ACL 2015. https://aclanthology.org/P15-2139
    """

    strength: float
    edges: Edges | None = None
    tasks: Sequence[str] = ()
    selector: Selector = field(default_factory=Selector)

    acts: ClassVar[Acts] = "prox"
    layout: ClassVar[Layout] = "tasks"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        self._edges = None if self.edges is None else named_edges(self.edges, self.tasks)
        self._couplings: list[Coupling] = []

    def columns(self, tasks: Sequence[tuple[str, ...]]) -> None:
        """Finds the edges of each block."""
        self._couplings = couplings(self._edges, tasks)

    def value(self, blocks: Sequence[Float[Tensor, "entries tasks"]]) -> Float[Tensor, ""]:
        """(r/2) Σ a_st ‖θ_s − θ_t‖² over all layers."""
        pairs = zip(self._couplings, blocks, strict=True)
        return self.strength * total([coupling.energy(block) for coupling, block in pairs])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "entries tasks"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The tasks' weights approach each other."""
        for coupling, block, step in zip(self._couplings, blocks, steps, strict=True):
            coupling.prox_(block, step, self.strength)

    def describe(self) -> str:
        """In words, with r and the edges."""
        joined = "all pairs" if self._edges is None else f"{len(self._edges)} pairs"
        return (
            f"soft parameter sharing of {joined} of tasks: ({self.strength:g}/2) Σ a ‖θ_s − θ_t‖²"
        )
