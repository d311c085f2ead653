"""EMA: an exponential moving average of the weights."""

from typing import final

from torch import nn

from polytask._checks import probability

from .running import RunningAverage


@final
class EMA(RunningAverage):
    """Averages over the last updates, the latest ones the most.

    The first update is copied; afterwards

        w̄ ← d_t w̄ + (1 − d_t) w ,   d_t = min(d, (1 + t) / (10 + t))

    with t the updates averaged so far. Without the warm-up (d_t = d) an average with d = 0.999
    still consists of start values for 82 % after 200 updates.

    Args:
        decay: d, in [0, 1); 0.999 averages over about the last 1000 updates.
        warmup: Whether d_t starts small.

    Raises:
        InvalidArgument: If `decay` is out of range.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = EMA(0.5, warmup=False)
        >>> average.start(model)
        >>> for update, value in enumerate((1.0, 2.0), 1):
        ...     _ = model.weight.data.fill_(value)
        ...     average.update(model, update, 0.0)
        >>> with average.swapped(model):
        ...     model.weight.item()
        1.5
        >>> model.weight.item()
        2.0

    Reference:
        Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM Journal on
        Control and Optimization 30, 1992. https://doi.org/10.1137/0330046
        The warm-up: TensorFlow, ExponentialMovingAverage, argument ``num_updates``.
        https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage
    """

    def __init__(self, decay: float = 0.999, *, warmup: bool = True) -> None:
        super().__init__()
        probability("decay", decay)
        self.decay = decay
        self.warmup = warmup

    def update(self, model: nn.Module, updates: int, fraction: float) -> None:
        """Takes in the weights after an update."""
        early = (1 + self.taken) / (10 + self.taken)
        decay = min(self.decay, early) if self.warmup else self.decay
        self.take(model, 1.0 - decay)

    def describe(self) -> str:
        """The decay, in words."""
        reach = 1.0 / (1.0 - self.decay)
        words = f"decay {self.decay:g}: about the last {reach:,.0f} updates"
        return f"{words}, fewer at the start" if self.warmup else words
