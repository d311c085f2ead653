"""Penalties: a value and a proximal step."""

from .base import Penalty
from .bound import BoundPenalties, PenaltySummary, Zeros, penalise
from .elastic_net import ElasticNet
from .fused import Fused
from .graph_laplacian import GraphLaplacian
from .group_lasso import GroupLasso
from .input_gradient import InputGradient
from .joint_features import JointFeatures
from .joint_features_max import JointFeaturesMax
from .l1 import L1
from .l2 import L2
from .layout import Layout, arrange
from .max_norm import MaxNorm
from .mcp import MCP
from .mean_regularised import MeanRegularised
from .nuclear import Nuclear
from .orthogonality import Orthogonality
from .scad import SCAD
from .select import select
from .soft_sharing import SoftSharing
from .sparse_group_lasso import SparseGroupLasso
from .spectral import Spectral
from .srip import SRIP
from .start_point import StartPoint
from .task_covariance import TaskCovariance

__all__ = [
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "SRIP",
    "BoundPenalties",
    "ElasticNet",
    "Fused",
    "GraphLaplacian",
    "GroupLasso",
    "InputGradient",
    "JointFeatures",
    "JointFeaturesMax",
    "Layout",
    "MaxNorm",
    "MeanRegularised",
    "Nuclear",
    "Orthogonality",
    "Penalty",
    "PenaltySummary",
    "SoftSharing",
    "SparseGroupLasso",
    "Spectral",
    "StartPoint",
    "TaskCovariance",
    "Zeros",
    "arrange",
    "penalise",
    "select",
]
