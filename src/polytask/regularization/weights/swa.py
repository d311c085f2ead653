"""SWA: the mean of the weights over the last part of a run."""

from typing import ClassVar, final

from torch import nn

from polytask._checks import probability

from .running import RunningAverage


@final
class SWA(RunningAverage):
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
        super().__init__()
        probability("start", start)
        self.start_fraction = start

    def update(self, model: nn.Module, updates: int, fraction: float) -> None:
        """Takes in the weights after an update, if the run is far enough."""
        if fraction > self.start_fraction:
            self.take(model, 1.0 / (self.taken + 1))

    def describe(self) -> str:
        """Where the mean begins, in words."""
        return f"mean over the updates after {self.start_fraction:.0%} of the run"
