"""Trainer, step, stopping, checkpoints, seeding."""

from .callbacks import Callback, EpochView, StepView
from .history import EpochRecord, History
from .seeding import RandomScope
from .stopping import Mean, NoStopping, Regret, Stopping
from .trainer import Trainer

__all__ = [
    "Callback",
    "EpochRecord",
    "EpochView",
    "History",
    "Mean",
    "NoStopping",
    "RandomScope",
    "Regret",
    "StepView",
    "Stopping",
    "Trainer",
]
