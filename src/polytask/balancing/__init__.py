"""Task losses to one objective."""

from .base import LossBalancer
from .equal import EqualWeights
from .fixed import FixedWeights
from .linear import LinearBalancer
from .pooled import PooledLoss
from .scheduled import ScheduledWeights

__all__ = [
    "EqualWeights",
    "FixedWeights",
    "LinearBalancer",
    "LossBalancer",
    "PooledLoss",
    "ScheduledWeights",
]
