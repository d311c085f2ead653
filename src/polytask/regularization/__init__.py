"""Techniques against overfitting, by the point of the step that they touch."""

from .objective import (
    L1,
    L2,
    BoundPenalties,
    ElasticNet,
    GroupLasso,
    JointFeatures,
    Nuclear,
    Penalty,
    SparseGroupLasso,
    penalise,
)

__all__ = [
    "L1",
    "L2",
    "BoundPenalties",
    "ElasticNet",
    "GroupLasso",
    "JointFeatures",
    "Nuclear",
    "Penalty",
    "SparseGroupLasso",
    "penalise",
]
