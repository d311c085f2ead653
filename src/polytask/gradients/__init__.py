"""The engine that drives balancing and aggregation."""

from .backward import MultiTaskBackward, multitask_backward
from .branching import branch
from .checks import Balance
from .report import (
    ASSEMBLED,
    HEADS_WEIGHTED,
    NO_WEIGHTS,
    ONE_BACKWARD,
    ONE_BY_ONE,
    OVER_BUDGET,
    TOGETHER,
    BackwardReport,
)

__all__ = [
    "ASSEMBLED",
    "HEADS_WEIGHTED",
    "NO_WEIGHTS",
    "ONE_BACKWARD",
    "ONE_BY_ONE",
    "OVER_BUDGET",
    "TOGETHER",
    "BackwardReport",
    "Balance",
    "MultiTaskBackward",
    "branch",
    "multitask_backward",
]
