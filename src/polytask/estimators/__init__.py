"""The scikit-learn face."""

from .multitask import MultiTaskEstimator

__all__ = ["MultiTaskEstimator"]
