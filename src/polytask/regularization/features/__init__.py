"""Regularizers of hidden features: dropout of weights, over the run, and while predicting."""

from polytask.backbones.drop_connect import DropConnect

from .dropout_schedule import DropoutSchedule
from .mc_dropout import mc_dropout, sample_outputs

__all__ = ["DropConnect", "DropoutSchedule", "mc_dropout", "sample_outputs"]
