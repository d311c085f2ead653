"""Techniques that change the gradient, or the point at which it is taken."""

from .noise import GradientNoise
from .sam import SAM

__all__ = ["SAM", "GradientNoise"]
