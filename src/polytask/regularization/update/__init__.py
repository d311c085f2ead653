"""Techniques that change the gradient, or the point at which it is taken."""

from .asam import ASAM, unscaled
from .climb import Climb
from .noise import GradientNoise
from .sam import SAM

__all__ = ["ASAM", "SAM", "Climb", "GradientNoise", "unscaled"]
