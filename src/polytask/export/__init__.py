"""Bundles: one file that predicts anywhere."""

from .architecture import BACKBONES, build_model, describe_architecture
from .bundle import FILE_NAME, SCHEMA_VERSION, Bundle
from .loading import load

__all__ = [
    "BACKBONES",
    "FILE_NAME",
    "SCHEMA_VERSION",
    "Bundle",
    "build_model",
    "describe_architecture",
    "load",
]
