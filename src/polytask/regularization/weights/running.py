"""What running averages share: one averaged copy, fed a share of the weights at a time."""

from abc import ABC
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from polytask.errors import InvalidArgument

from .average import AveragedWeights
from .base import WeightAverage


class RunningAverage(WeightAverage, ABC):
    """Base class of averages that keep one copy: the first weights are copied, later ones mixed in.

    A subclass says in `update` when to `take` the weights, and with which share.
    """

    def __init__(self) -> None:
        self.taken = 0
        """Updates that the average holds."""
        self._average: AveragedWeights | None = None

    @property
    def active(self) -> bool:
        """Whether an update was taken in."""
        return self.taken > 0

    def start(self, model: nn.Module) -> None:
        """Begins anew, for this model."""
        self._average = AveragedWeights(model)
        self.taken = 0

    def take(self, model: nn.Module, share: float) -> None:
        """Average ← average + share · (weights − average); the first weights are copied.

        Args:
            model: With the weights of now.
            share: Of the new weights, in [0, 1].
        """
        if self.taken == 0:
            self._started().copy_from(model)
        else:
            self._started().move_towards(model, share)
        self.taken += 1

    def swapped(self, model: nn.Module) -> AbstractContextManager[None]:
        """The model holds the average inside, or its own weights if there is none yet."""
        return self._started().swapped(model) if self.active else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """The average, and how many updates it holds."""
        return {"average": self._started().state_dict(), "taken": self.taken}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._started().load_state_dict(state_dict["average"])
        self.taken = int(state_dict["taken"])

    def _started(self) -> AveragedWeights:
        if self._average is None:
            raise InvalidArgument("`start(model)` must be called before an average is used.")
        return self._average
