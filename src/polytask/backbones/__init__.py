"""Features in, vector out."""

from .base import Backbone
from .dropout import Dropout
from .embeddings import PiecewiseInput, piecewise_bins
from .ensemble import EnsembleLinear, TabM
from .gates import HardConcrete, InputGates, L0Gates
from .identity import Identity
from .mlp import MLP
from .residual_mlp import ResidualMLP
from .table_input import TableInput, embedding_width

__all__ = [
    "MLP",
    "Backbone",
    "Dropout",
    "EnsembleLinear",
    "HardConcrete",
    "Identity",
    "InputGates",
    "L0Gates",
    "PiecewiseInput",
    "ResidualMLP",
    "TabM",
    "TableInput",
    "embedding_width",
    "piecewise_bins",
]
