"""SWA: the mean of the weights over the last part of a run."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, final

from torch import nn

from polytask._checks import probability
from polytask.errors import InvalidArgument

from .average import AveragedWeights
from .base import WeightAverage


@final
class SWA(WeightAverage):
    """Stochastic weight averaging: the arithmetic mean of the weights after a point of the run.

    w̄ = (1/n) Σ w_i over all n updates i that end after the fraction `start` of the run. Running
    statistics of normalisation layers belong to other weights and are measured anew.

    Args:
        start: Fraction of the run after which the mean begins, in [0, 1); usual 0.75.

    Raises:
        InvalidArgument: If `start` is out of range.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = SWA(start=0.5)
        >>> average.start(model)
        >>> for update in range(1, 5):
        ...     _ = model.weight.data.fill_(float(update))
        ...     average.update(model, update, update / 4)
        >>> with average.swapped(model):
        ...     model.weight.item()
        3.5

    Note:
        The paper averages once per epoch at a constant or cyclic rate; here every update counts,
        so that short runs have something to average. Needs a run of fixed length.

    Reference:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI
        2018, algorithm 1. https://arxiv.org/abs/1803.05407
    """

    needs_batch_norm_update: ClassVar[bool] = True

    def __init__(self, start: float = 0.75) -> None:
        probability("start", start)
        self.start_fraction = start
        self._average: AveragedWeights | None = None
        self._taken = 0

    @property
    def active(self) -> bool:
        """Whether the last part of the run has begun."""
        return self._taken > 0

    def start(self, model: nn.Module) -> None:
        """Begins anew, for this model."""
        self._average = AveragedWeights(model)
        self._taken = 0

    def update(self, model: nn.Module, updates: int, fraction: float) -> None:
        """Takes in the weights after an update, if the run is far enough."""
        if fraction <= self.start_fraction:
            return
        self._taken += 1
        if self._taken == 1:
            self._started().copy_from(model)
        else:
            self._started().move_towards(model, 1.0 / self._taken)

    def swapped(self, model: nn.Module) -> AbstractContextManager[None]:
        """The model holds the average inside, or its own weights if there is none yet."""
        return self._started().swapped(model) if self.active else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """The average, and how many updates it holds."""
        return {"average": self._started().state_dict(), "taken": self._taken}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._started().load_state_dict(state_dict["average"])
        self._taken = int(state_dict["taken"])

    def describe(self) -> str:
        """Where the mean begins, in words."""
        return f"mean over the updates after {self.start_fraction:.0%} of the run"

    def _started(self) -> AveragedWeights:
        if self._average is None:
            raise InvalidArgument("`start(model)` must be called before an average is used.")
        return self._average
