"""The contract of a sharing architecture: features in, one representation per task out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from polytask.optim.roles import ParameterInfo


class Shared(NamedTuple):
    """What a sharing architecture returns; nothing is stashed on the module.

    Args:
        representations: Task → ``[rows, width]``.
        taps: Tensors whose gradients stand for "the representation".
        penalties: Named scalars connected to the graph (load, entropy …), added to the objective
            once, after balancing.
        usage: Detached gate statistics.
    """

    representations: Mapping[str, Tensor]
    taps: tuple[Tensor, ...]
    penalties: Mapping[str, Tensor]
    usage: Mapping[str, Tensor]


class ModelOutput(NamedTuple):
    """What a multi-task model returns.

    Args:
        outputs: Task group → raw outputs ``[rows, k, outputs]``.
        shared: What the sharing architecture returned.
    """

    outputs: Mapping[str, Tensor]
    shared: Shared


class SharingArchitecture(nn.Module, ABC):
    """Base class of sharing architectures."""

    @abstractmethod
    def forward(self, features: Tensor, tasks: Sequence[str] | None = None) -> Shared:
        """Backbone features ``[rows, width]`` → representations of `tasks` (None: all)."""

    @abstractmethod
    def width(self, task: str) -> int:
        """Width of the representation that the task's head receives."""

    @abstractmethod
    def roles(self) -> Sequence[ParameterInfo]:
        """Every parameter once; tested by one backward per task."""
