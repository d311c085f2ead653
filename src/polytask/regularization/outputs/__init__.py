"""Techniques on the outputs: what the losses follow besides labels, and how sure outputs are."""

from .distillation import Distillation
from .teacher import TeacherOutputs
from .temperature import Temperature, fit_temperature

__all__ = ["Distillation", "TeacherOutputs", "Temperature", "fit_temperature"]
