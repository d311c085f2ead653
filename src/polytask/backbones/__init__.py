"""Features in, vector out."""

from .base import Backbone
from .mlp import MLP
from .residual_mlp import ResidualMLP
from .table_input import TableInput, embedding_width

__all__ = ["MLP", "Backbone", "ResidualMLP", "TableInput", "embedding_width"]
