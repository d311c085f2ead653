"""Penalties: a value and a proximal step."""

from .base import Penalty
from .bound import BoundPenalties, PenaltySummary, Zeros, penalise
from .elastic_net import ElasticNet
from .graph_laplacian import GraphLaplacian
from .group_lasso import GroupLasso
from .input_gradient import InputGradient
from .joint_features import JointFeatures
from .l1 import L1
from .l2 import L2
from .layout import Layout, arrange
from .mean_regularised import MeanRegularised
from .nuclear import Nuclear
from .select import select
from .soft_sharing import SoftSharing
from .sparse_group_lasso import SparseGroupLasso
from .start_point import StartPoint

__all__ = [
    "L1",
    "L2",
    "BoundPenalties",
    "ElasticNet",
    "GraphLaplacian",
    "GroupLasso",
    "InputGradient",
    "JointFeatures",
    "Layout",
    "MeanRegularised",
    "Nuclear",
    "Penalty",
    "PenaltySummary",
    "SoftSharing",
    "SparseGroupLasso",
    "StartPoint",
    "Zeros",
    "arrange",
    "penalise",
    "select",
]
