"""The engine that drives balancing and aggregation."""

from .backward import MultiTaskBackward, multitask_backward
from .branching import branch
from .checks import Balance
from .report import (
    ASSEMBLED,
    HEADS_WEIGHTED,
    NO_WEIGHTS,
    ONE_BACKWARD,
    OVER_BUDGET,
    BackwardReport,
)

__all__ = [
    "ASSEMBLED",
    "HEADS_WEIGHTED",
    "NO_WEIGHTS",
    "ONE_BACKWARD",
    "OVER_BUDGET",
    "BackwardReport",
    "Balance",
    "MultiTaskBackward",
    "branch",
    "multitask_backward",
]
