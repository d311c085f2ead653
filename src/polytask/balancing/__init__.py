"""Task losses to one objective."""

from .base import GUARANTEES, LossBalancer
from .equal import EqualWeights
from .fixed import FixedWeights
from .linear import LinearBalancer
from .pooled import PooledLoss
from .scheduled import ScheduledWeights

__all__ = [
    "GUARANTEES",
    "EqualWeights",
    "FixedWeights",
    "LinearBalancer",
    "LossBalancer",
    "PooledLoss",
    "ScheduledWeights",
]
