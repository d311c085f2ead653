"""Task losses to one objective."""

from .base import GUARANTEES, LossBalancer
from .dwa import DWA
from .equal import EqualWeights
from .famo import FAMO
from .fixed import FixedWeights
from .geometric_mean import GeometricMean
from .imtl_l import IMTLL
from .linear import LinearBalancer
from .performance import PerformanceWeights
from .plain_smooth_tchebycheff import PlainSmoothTchebycheff
from .pooled import PooledLoss
from .random import RandomWeights
from .scheduled import ScheduledWeights
from .smooth_tchebycheff import SmoothTchebycheff
from .uncertainty import UncertaintyWeights
from .uw_so import UWSO

__all__ = [
    "DWA",
    "FAMO",
    "GUARANTEES",
    "IMTLL",
    "UWSO",
    "EqualWeights",
    "FixedWeights",
    "GeometricMean",
    "LinearBalancer",
    "LossBalancer",
    "PerformanceWeights",
    "PlainSmoothTchebycheff",
    "PooledLoss",
    "RandomWeights",
    "ScheduledWeights",
    "SmoothTchebycheff",
    "UncertaintyWeights",
]
