"""The contract of a weight average: fed after every update, swapped in to measure and to keep."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from torch import nn


class WeightAverage(ABC):
    """Averages the weights of a model over its updates.

    As long as `active` is False nothing was averaged yet and the model's own weights are meant.
    """

    needs_batch_norm_update: ClassVar[bool] = False
    """Whether running statistics must be measured anew for the averaged weights."""

    @property
    @abstractmethod
    def active(self) -> bool:
        """Whether there is an average."""

    @abstractmethod
    def start(self, model: nn.Module) -> None:
        """Makes room for an average of this model's weights."""

    @abstractmethod
    def update(self, model: nn.Module, updates: int, fraction: float) -> None:
        """Takes in the weights after an update.

        Args:
            model: With the weights of now.
            updates: Updates done, this one included.
            fraction: Of the run that is over, in [0, 1].
        """

    @abstractmethod
    def swapped(self, model: nn.Module) -> AbstractContextManager[None]:
        """The model holds the averaged weights inside, and its own again afterwards.

        Nothing is swapped as long as nothing was averaged.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs."""

    @abstractmethod
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""

    @abstractmethod
    def describe(self) -> str:
        """The technique with its strength, in words for the report."""
