"""Regularizers that change the rows of a batch before the model sees them."""

from .adversarial import Adversarial
from .base import InputRegularizer, Mixing
from .c_mixup import CMixup
from .cutmix import CutMix
from .cutout import Cutout
from .feature_dropout import FeatureDropout
from .manifold_mixup import ManifoldMixup, hidden_mix
from .mixing import mixed_counts, mixed_sums
from .mixup import Mixup
from .noise import InputNoise

__all__ = [
    "Adversarial",
    "CMixup",
    "CutMix",
    "Cutout",
    "FeatureDropout",
    "InputNoise",
    "InputRegularizer",
    "ManifoldMixup",
    "Mixing",
    "Mixup",
    "hidden_mix",
    "mixed_counts",
    "mixed_sums",
]
