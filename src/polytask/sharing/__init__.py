"""Architectures that share: backbone features to one representation per task, and heads."""

from .adapt import AdaptedModel, adapt
from .base import ModelOutput, Shared, SharingArchitecture
from .hard import HardSharing
from .heads import Heads, StackedHead
from .infer import infer_roles
from .model import MultiTaskModel

__all__ = [
    "AdaptedModel",
    "HardSharing",
    "Heads",
    "ModelOutput",
    "MultiTaskModel",
    "Shared",
    "SharingArchitecture",
    "StackedHead",
    "adapt",
    "infer_roles",
]
