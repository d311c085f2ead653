"""Regularizers of hidden features: dropout over the run, and dropout while predicting."""

from .dropout_schedule import DropoutSchedule
from .mc_dropout import mc_dropout, sample_outputs

__all__ = ["DropoutSchedule", "mc_dropout", "sample_outputs"]
