"""Regularizers that change the rows of a batch before the model sees them."""

from .base import InputRegularizer, Mixing
from .c_mixup import CMixup
from .cutmix import CutMix
from .cutout import Cutout
from .feature_dropout import FeatureDropout
from .mixing import mixed_counts, mixed_sums
from .mixup import Mixup
from .noise import InputNoise

__all__ = [
    "CMixup",
    "CutMix",
    "Cutout",
    "FeatureDropout",
    "InputNoise",
    "InputRegularizer",
    "Mixing",
    "Mixup",
    "mixed_counts",
    "mixed_sums",
]
