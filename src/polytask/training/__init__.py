"""Trainer, step, stopping, checkpoints, seeding."""

from .callbacks import Callback, EpochView, StepView
from .defence import Defence
from .history import EpochRecord, History
from .seeding import RandomScope
from .stopping import Mean, NoStopping, Regret, Stopping
from .task_stopping import AllTasks, AnyTask, Distil, FreezeHead
from .trainer import Trainer

__all__ = [
    "AllTasks",
    "AnyTask",
    "Callback",
    "Defence",
    "Distil",
    "EpochRecord",
    "EpochView",
    "FreezeHead",
    "History",
    "Mean",
    "NoStopping",
    "RandomScope",
    "Regret",
    "StepView",
    "Stopping",
    "Trainer",
]
