"""The plain multi-layer perceptron."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .base import Backbone, Mix
from .concrete_dropout import Concrete, ConcreteDropout, concrete_term
from .drop_connect import linear_layer
from .gates import L0Gates
from .layers import activation as activation_layer
from .layers import check_learned, check_sizes, dropout_layer, present, through
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
        drop_connect: Probability of dropping a weight of W_i while training, in [0, 1); see
            `DropConnect`.
        concrete_rows: N, the training rows, if dropout probabilities are to be learned, each from
            `dropout` on (`ConcreteDropout`); 0: they stay.
        length_scale: Of the prior of the weights under learned dropout, positive.
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
        drop_connect: float = 0.0,
        concrete_rows: int = 0,
        length_scale: float = 1e-2,
        gates: L0Gates | None = None,
    ) -> None:
        super().__init__()
        check_sizes(width, depth, dropout)
        check_learned(dropout, concrete_rows, length_scale)
        self.concrete_rows = concrete_rows
        self.length_scale = length_scale
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
        if drop_connect > 0:
            self.architecture["drop_connect"] = drop_connect
        if concrete_rows:
            self.architecture |= {"concrete_rows": concrete_rows, "length_scale": length_scale}
        if gates is not None:
            self.architecture["gates"] = asdict(gates)
        self.input = TableInput(numeric, cardinalities, gates=gates)
        self.width = width + self.input.width if skip else width
        layers: list[nn.Module] = []
        for index in range(depth):
            layers += [
                linear_layer(width if index else self.input.width, width, drop_connect),
                normalization_layer(normalization, width),
                activation_layer(activation),
                dropout_layer(dropout, concrete_rows > 0),
            ]
        self.layers = present(layers)
        # With `skip` the heads would read inputs that no layer has mixed.
        self.mixable = 0 if skip else depth

    def forward(
        self, inputs: Mapping[str, Tensor] | Tensor, mix: Mix | None = None
    ) -> Float[Tensor, "rows width"]:
        """Encoded rows → features, perhaps mixed after one of the layers h_1, …, h_depth."""
        rows: Tensor = self.input(inputs)
        features: Tensor = through(self.layers, rows, mix, nn.Linear)
        return torch.cat((features, rows), dim=1) if self.skip else features

    def penalties(self, heads: Sequence[Tensor] = ()) -> Mapping[str, Tensor]:
        """The price of the gates, and what learned dropout adds.

        Every dropout is read by the next layer, the last one by the heads.
        """
        dropouts = [layer for layer in self.layers if isinstance(layer, ConcreteDropout)]
        linear = [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]
        pairs = [Concrete(*pair) for pair in zip(dropouts, [*linear[1:], None], strict=False)]
        hidden = self.width - self.input.width if self.skip else self.width
        read = [weight[..., :hidden] for weight in heads]
        learned = concrete_term(pairs, read, self.concrete_rows, self.length_scale)
        return {**self.input.penalties(), **learned}
