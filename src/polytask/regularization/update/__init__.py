"""Techniques that change the gradient, the point at which it is taken, or the step itself."""

from .asam import ASAM, unscaled
from .climb import Climb
from .lookahead import Lookahead
from .noise import GradientNoise
from .sam import SAM
from .task_sam import TaskSAM

__all__ = ["ASAM", "SAM", "Climb", "GradientNoise", "Lookahead", "TaskSAM", "unscaled"]
