"""The contract of a backbone: encoded inputs in, one feature vector per row out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

Mix = Callable[[int, Tensor], Tensor]
"""Number of a hidden layer, from 1, and its output → the same output, or mixed rows of it."""


class Backbone(nn.Module, ABC):
    """Turns encoded rows into features; the output has gone through an activation."""

    width: int
    """Width of the feature vector."""

    members: int = 1
    """Sub-models inside; above 1 the features are ``[rows, members, width]``."""

    mixable: int = 0
    """Hidden layers whose output it hands to `mix`, an argument of `forward` then; 0: none."""

    architecture: Mapping[str, Any] | None = None
    """JSON values from which a bundle builds an equal backbone: ``backbone`` is its name, the rest
    are its arguments. None for a backbone of the user's own, which is handed back on loading."""

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor] | Tensor) -> Float[Tensor, "rows width"]:
        """Encoded inputs → features; as many rows out as in."""

    def penalties(self, heads: Sequence[Tensor] = ()) -> Mapping[str, Tensor]:
        """Named scalars that join the objective in training, once and unweighted; usually none.

        Args:
            heads: The weights that read the features, ``[…, outputs, width]`` each.
        """
        return {}
