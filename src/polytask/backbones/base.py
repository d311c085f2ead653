"""The contract of a backbone: encoded inputs in, one feature vector per row out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Turns encoded rows into features; the output has gone through an activation."""

    width: int
    """Width of the feature vector."""

    members: int = 1
    """Sub-models inside; above 1 the features are ``[rows, members, width]``."""

    architecture: Mapping[str, Any] | None = None
    """JSON values from which a bundle builds an equal backbone: ``backbone`` is its name, the rest
    are its arguments. None for a backbone of the user's own, which is handed back on loading."""

    def penalties(self) -> Mapping[str, Tensor]:
        """Named scalars connected to the graph, added to the objective once, after balancing.

        Default: none.
        """
        return {}

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor] | Tensor) -> Float[Tensor, "rows width"]:
        """Encoded inputs → features; as many rows out as in."""
