"""Task losses to one objective."""

from .base import LossBalancer
from .equal import EqualWeights
from .fixed import FixedWeights
from .pooled import PooledLoss
from .scheduled import ScheduledWeights

__all__ = ["EqualWeights", "FixedWeights", "LossBalancer", "PooledLoss", "ScheduledWeights"]
