"""Averages over the weights of many updates."""

from .base import WeightAverage
from .batch_norm import update_batch_norm
from .ema import EMA
from .swa import SWA

__all__ = ["EMA", "SWA", "WeightAverage", "update_batch_norm"]
