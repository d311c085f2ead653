"""Linear multi-task models as convex problems, solved to the end."""

from .data_term import DataTerm
from .features import SelectedFeature, selected_features
from .groups import L21, GroupLasso
from .low_rank import NuclearNorm
from .path import Path, lambda_max, path, strengths
from .penalty import ConvexPenalty
from .problem import Family, Problem
from .relations import GraphLaplacian, MeanRegularised
from .selection import Scores, cross_validate
from .shrinkage import ElasticNet, Ridge
from .solver import Solution, solve

__all__ = [
    "L21",
    "ConvexPenalty",
    "DataTerm",
    "ElasticNet",
    "Family",
    "GraphLaplacian",
    "GroupLasso",
    "MeanRegularised",
    "NuclearNorm",
    "Path",
    "Problem",
    "Ridge",
    "Scores",
    "SelectedFeature",
    "Solution",
    "cross_validate",
    "lambda_max",
    "path",
    "selected_features",
    "solve",
    "strengths",
]
