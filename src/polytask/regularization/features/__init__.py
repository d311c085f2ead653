"""Regularizers of hidden features: dropout learned, of weights, over the run, while predicting."""

from polytask.backbones.concrete_dropout import ConcreteDropout
from polytask.backbones.drop_connect import DropConnect

from .dropout_schedule import DropoutSchedule
from .mc_dropout import has_dropout, mc_dropout, sample_outputs

__all__ = [
    "ConcreteDropout",
    "DropConnect",
    "DropoutSchedule",
    "has_dropout",
    "mc_dropout",
    "sample_outputs",
]
