"""The plain multi-layer perceptron."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .base import Backbone
from .gates import L0Gates
from .layers import activation as activation_layer
from .layers import check_sizes, present
from .layers import normalization as normalization_layer
from .table_input import TableInput


@final
class MLP(Backbone):
    """Layers of linear map, normalisation, activation, dropout.

    h₀ = input, h_i = dropout(activation(norm(W_i h_{i−1} + b_i))) for i = 1 … depth. It ends with
    an activation, so that the linear heads on top of it are not redundant with its last layer.

    Args:
        numeric: Width of the numeric input.
        cardinalities: Codes of each category column, the reserved ones too (see `TableInput`).
        width: Units per layer, at least 1.
        depth: Number of layers, at least 1.
        dropout: Probability of dropping a unit after each activation, in [0, 1).
        activation: ``"relu"``, ``"gelu"``, ``"silu"``, ``"mish"``, ``"selu"`` or ``"tanh"``.
        normalization: ``"none"``, ``"layer"`` or ``"batch"``.
        skip: Whether the input stands beside the last layer, features = [h_depth, h₀], so that
            the heads on top are a linear model and a network in one (wide and deep).
        gates: Learns which columns of the table are read (`L0Gates`); None: all of them.

    Shapes:
        inputs: As `TableInput`.
        output: ``[rows, width]``, with `skip` ``[rows, width + input.width]``.

    Raises:
        InvalidArgument: If a size is out of range.
        UnknownName: For an unknown activation or normalisation.

    Example:
        >>> tuple(MLP(4, width=8, depth=2)(torch.zeros(3, 4)).shape)
        (3, 8)
        >>> MLP(4, width=8, depth=2, skip=True).width
        12

    Reference:
        Cheng et al., Wide & Deep Learning for Recommender Systems, DLRS 2016 (`skip`).
        https://arxiv.org/abs/1606.07792
    """

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int] = (),
        *,
        width: int = 256,
        depth: int = 3,
        dropout: float = 0.1,
        activation: str = "relu",
        normalization: str = "none",
        skip: bool = False,
        gates: L0Gates | None = None,
    ) -> None:
        super().__init__()
        check_sizes(width, depth, dropout)
        self.skip = skip
        self.architecture: dict[str, Any] = {
            "backbone": "mlp",
            "numeric": numeric,
            "cardinalities": list(cardinalities),
            "width": width,
            "depth": depth,
            "dropout": dropout,
            "activation": activation,
            "normalization": normalization,
        }
        if skip:
            self.architecture["skip"] = True
        if gates is not None:
            self.architecture["gates"] = asdict(gates)
        self.input = TableInput(numeric, cardinalities, gates=gates)
        self.width = width + self.input.width if skip else width
        layers: list[nn.Module] = []
        for index in range(depth):
            layers += [
                nn.Linear(width if index else self.input.width, width),
                normalization_layer(normalization, width),
                activation_layer(activation),
                nn.Dropout(dropout),
            ]
        self.layers = present(layers)

    def penalties(self) -> Mapping[str, Tensor]:
        """The price of the gates."""
        return self.input.penalties()

    def forward(self, inputs: Mapping[str, Tensor] | Tensor) -> Float[Tensor, "rows width"]:
        """Encoded rows → features."""
        rows: Tensor = self.input(inputs)
        features: Tensor = self.layers(rows)
        return torch.cat((features, rows), dim=1) if self.skip else features
