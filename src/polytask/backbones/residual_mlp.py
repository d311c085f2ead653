"""The multi-layer perceptron with pre-normalised residual blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from polytask._checks import probability

from .base import Backbone, Mix
from .concrete_dropout import Concrete, ConcreteDropout, concrete_term
from .drop_connect import linear_layer
from .gates import L0Gates
from .layers import DropPath, check_learned, check_sizes, dropout_layer, present
from .layers import activation as activation_layer
from .layers import normalization as normalization_layer
from .table_input import TableInput


@final
class ResidualMLP(Backbone):
    """A linear stem and residual blocks; deep networks of it stay trainable.

    h₀ = W₀ x + b₀, h_i = h_{i−1} + V_i dropout(activation(W_i norm(h_{i−1}) + b_i)) + c_i, and the
    features are dropout(activation(norm(h_depth))).

    Args:
        numeric: Width of the numeric input.
        cardinalities: Codes of each category column, the reserved ones too (see `TableInput`).
        width: Units per layer, at least 1.
        depth: Number of blocks, at least 1.
        dropout: Probability of dropping a unit after each activation, in [0, 1).
        activation: ``"relu"``, ``"gelu"``, ``"silu"``, ``"mish"``, ``"selu"`` or ``"tanh"``.
        normalization: ``"none"``, ``"layer"`` or ``"batch"``.
        drop_path: Probability of dropping the last block of a sample while training, in [0, 1);
            block i of n is dropped with i/n of it.
        drop_connect: Probability of dropping a weight of W_i and V_i while training, in [0, 1);
            see `DropConnect`.
        concrete_rows: N, the training rows, if dropout probabilities are to be learned, each from
            `dropout` on (`ConcreteDropout`); 0: they stay.
        length_scale: Of the prior of the weights under learned dropout, positive.
        gates: Learns which columns of the table are read (`L0Gates`); None: all of them.

    Shapes:
        inputs: As `TableInput`.
        output: ``[rows, width]``.

    Raises:
        InvalidArgument: If a size is out of range.
        UnknownName: For an unknown activation or normalisation.

    Example:
        >>> import torch
        >>> tuple(ResidualMLP(4, width=8, depth=2)(torch.zeros(3, 4)).shape)
        (3, 8)

    Reference:
        Gorishniy, Rubachev, Khrulkov & Babenko, Revisiting Deep Learning Models for Tabular Data,
        NeurIPS 2021, section 3.2. https://arxiv.org/abs/2106.11959
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
        drop_path: float = 0.0,
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
        probability("drop_path", drop_path)
        self.width = width
        self.architecture: dict[str, Any] = {
            "backbone": "residual-mlp",
            "numeric": numeric,
            "cardinalities": list(cardinalities),
            "width": width,
            "depth": depth,
            "dropout": dropout,
            "activation": activation,
            "normalization": normalization,
        }
        if drop_path > 0:
            self.architecture["drop_path"] = drop_path
        if drop_connect > 0:
            self.architecture["drop_connect"] = drop_connect
        if concrete_rows:
            self.architecture |= {"concrete_rows": concrete_rows, "length_scale": length_scale}
        if gates is not None:
            self.architecture["gates"] = asdict(gates)
        self.input = TableInput(numeric, cardinalities, gates=gates)
        self.stem = linear_layer(self.input.width, width, drop_connect)
        self.blocks = nn.ModuleList(
            present(
                [
                    normalization_layer(normalization, width),
                    linear_layer(width, width, drop_connect),
                    activation_layer(activation),
                    dropout_layer(dropout, concrete_rows > 0),
                    linear_layer(width, width, drop_connect),
                    DropPath(drop_path * number / depth),
                ]
            )
            for number in range(1, depth + 1)
        )
        self.mixable = depth + 1
        self.last = present(
            [
                normalization_layer(normalization, width),
                activation_layer(activation),
                dropout_layer(dropout, concrete_rows > 0),
            ]
        )

    def forward(
        self, inputs: Mapping[str, Tensor] | Tensor, mix: Mix | None = None
    ) -> Float[Tensor, "rows width"]:
        """Encoded rows → features, perhaps mixed at h_0 (layer 1), …, h_depth (depth + 1)."""
        hidden: Tensor = self.stem(self.input(inputs))
        for number, block in enumerate(self.blocks, 1):
            hidden = hidden if mix is None else mix(number, hidden)
            hidden = hidden + block(hidden)
        hidden = hidden if mix is None else mix(self.mixable, hidden)
        features: Tensor = self.last(hidden)
        return features

    def penalties(self, heads: Sequence[Tensor] = ()) -> Mapping[str, Tensor]:
        """The price of the gates, and what learned dropout adds.

        V_i reads the dropout of its block, the heads read the last one.
        """
        pairs: list[Concrete] = []
        for layers in (*self.blocks, self.last):
            linear = [layer.weight for layer in layers if isinstance(layer, nn.Linear)]
            pairs += [
                Concrete(layer, linear[-1] if linear else None)
                for layer in layers
                if isinstance(layer, ConcreteDropout)
            ]
        learned = concrete_term(pairs, heads, self.concrete_rows, self.length_scale)
        return {**self.input.penalties(), **learned}
