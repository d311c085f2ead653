"""What a parameter is for: its role in the network, its kind, and the tasks that reach it."""

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Literal

from torch import nn


class Role(StrEnum):
    """The place of a parameter in the network."""

    BACKBONE = auto()
    TRUNK = auto()
    EXPERT = auto()
    GATE = auto()
    HEAD = auto()
    BALANCE = auto()


class Kind(StrEnum):
    """What a parameter does inside its module; decides decay and penalties."""

    WEIGHT = auto()
    BIAS = auto()
    NORM = auto()
    EMBEDDING = auto()
    MISSING = auto()
    SCALAR = auto()


@dataclass(frozen=True)
class ParameterInfo:
    """One row per parameter of a model; a tied parameter has one row.

    Args:
        name: Qualified name in the model, as in ``named_parameters()``.
        parameter: The parameter itself.
        role: Its place in the network.
        kind: What it does there.
        tasks: Names of the tasks whose loss reaches it; two or more means shared.
        order: For stacked heads, the task of each slice along the first dimension; empty
            elsewhere, or if unknown.
    """

    name: str
    parameter: nn.Parameter
    role: Role
    kind: Kind
    tasks: frozenset[str]
    order: tuple[str, ...] = field(default=(), compare=False)

    @property
    def shared(self) -> bool:
        """Whether two or more tasks reach the parameter."""
        return len(self.tasks) > 1


@dataclass(frozen=True)
class Selector:
    """Which parameters a penalty acts on.

    The default is the weights of backbone, trunk, experts and heads: never biases, normalisation
    parameters, embeddings, gates, or scalars such as task weights.

    Args:
        roles: Roles to include.
        kinds: Kinds to include.
        names: Regular expression that the full name must match.
        group: What one penalised group is (an entry, a row, a column, the weights of one feature
            across tasks, or a whole layer).
        tasks: Only parameters that no other task reaches, and the slices of stacked heads, of
            these tasks; None for all parameters.
    """

    roles: frozenset[Role] = field(
        default_factory=lambda: frozenset({Role.BACKBONE, Role.TRUNK, Role.EXPERT, Role.HEAD})
    )
    kinds: frozenset[Kind] = field(default_factory=lambda: frozenset({Kind.WEIGHT}))
    names: str = ".*"
    group: Literal["entry", "row", "column", "tasks", "layer"] = "entry"
    tasks: frozenset[str] | None = None
