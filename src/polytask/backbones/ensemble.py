"""TabM: k multi-layer perceptrons that share their weights, in one network."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask._checks import at_least, require
from polytask.optim.roles import Kind

from .base import Backbone, Mix
from .dropout import Dropout
from .embeddings import PiecewiseInput
from .gates import L0Gates
from .layers import activation as activation_layer
from .layers import check_sizes, present, through
from .table_input import TableInput


@final
class EnsembleLinear(nn.Module):
    r"""k linear layers with one weight matrix and own scales of inputs and outputs.

    :math:`y_m = s_m \odot W (r_m \odot x_m) + b_m` for m = 1 … k: the weight matrix of member m is
    W times the rank-one matrix :math:`s_m r_m^\top`.

    A member's scales are looked up by its number, so they count as embeddings (`Kind.EMBEDDING`):
    weight decay acts on them, as in the experiments of the reference, and penalties on weights
    leave them alone.

    Args:
        weight: W.
        input_scale: r, a row per member.
        output_scale: s, a row per member.
        bias: b, a row per member.

    Shapes:
        weight: ``[outputs, inputs]``.
        input_scale: ``[k, inputs]``; output_scale and bias: ``[k, outputs]``.
        inputs: ``[rows, k, inputs]``, or ``[rows, 1, inputs]`` if all members read the same.
        output: ``[rows, k, outputs]``.

    Example:
        >>> ones = [nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (4, 3), (4, 2), (4, 2))]
        >>> EnsembleLinear(*ones)(torch.ones(5, 1, 3))[0, 0].tolist()
        [4.0, 4.0]

    Reference:
        Wen, Tran & Ba, BatchEnsemble: An Alternative Approach to Efficient Ensemble and Lifelong
        Learning, ICLR 2020, section 3. https://arxiv.org/abs/2002.06715
    """

    def __init__(
        self,
        weight: nn.Parameter,
        input_scale: nn.Parameter,
        output_scale: nn.Parameter,
        bias: nn.Parameter,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.input_scale = input_scale
        self.output_scale = output_scale
        self.bias = bias

    def parameter_kinds(self) -> dict[str, Kind]:
        """Scales are embeddings of the member; its bias has two dimensions and is a bias."""
        return {
            "weight": Kind.WEIGHT,
            "input_scale": Kind.EMBEDDING,
            "output_scale": Kind.EMBEDDING,
            "bias": Kind.BIAS,
        }

    def forward(self, inputs: Float[Tensor, "rows _ inputs"]) -> Float[Tensor, "rows k outputs"]:
        """The layer of every member on its own input."""
        product = nn.functional.linear(inputs * self.input_scale, self.weight)
        return torch.addcmul(self.bias, product, self.output_scale)


@final
class TabM(Backbone):
    r"""k perceptrons in one: they share the weights and differ in rank-one scales and biases.

    h₀ = input; h_i = dropout(activation(s_i ⊙ W_i (r_i ⊙ h_{i−1}) + b_i)) for i = 1 … depth, with
    scales r, s and biases b of each member's own. Only the scales r₁ differ at the start (random
    signs; normal numbers with embeddings; equal within one column), all others start at one. Train
    the mean of the members' losses, not the loss of their mean; average their predictions.

    Args:
        numeric: Width of the numeric input.
        cardinalities: Codes of each category column, the reserved ones too (see `TableInput`).
        width: Units per layer, at least 1.
        depth: Number of layers, at least 1; None: 2 with `bins`, 3 without.
        members: k, at least 2.
        dropout: Probability of dropping a unit after each activation, in [0, 1).
        activation: ``"relu"``, ``"gelu"``, ``"silu"``, ``"mish"``, ``"selu"`` or ``"tanh"``.
        bins: Bin edges of each numeric column (`piecewise_bins`), None for columns that pass
            through; None: there are no embeddings.
        embedding: Width of the embedding of each column with bins, at least 1.
        gates: Learns which columns of the table are read (`L0Gates`); None: all of them.

    Shapes:
        inputs: As `TableInput`.
        output: ``[rows, members, width]``.

    Raises:
        InvalidArgument: If a size is out of range, or `bins` does not fit the columns.
        UnknownName: For an unknown activation.

    Example:
        >>> tuple(TabM(4, width=8, depth=2, members=5)(torch.zeros(3, 4)).shape)
        (3, 5, 8)

    Note:
        Start values are those that the package ``tabm`` recommends. Categories are learned vectors
        here and one-hot there. On a CPU a step costs about `members` times that of one MLP, because
        every member multiplies by the shared weights; fewer members cost proportionally less.

    Reference:
        Gorishniy, Kotelnikov & Babenko, TabM: Advancing Tabular Deep Learning with
        Parameter-Efficient Ensembling, ICLR 2025. https://arxiv.org/abs/2410.24210
    """

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int] = (),
        *,
        width: int = 512,
        depth: int | None = None,
        members: int = 32,
        dropout: float = 0.1,
        activation: str = "relu",
        bins: Sequence[Sequence[float] | None] | None = None,
        embedding: int = 16,
        gates: L0Gates | None = None,
    ) -> None:
        from tabm import make_tabm_backbone

        super().__init__()
        embeds = bins is not None and any(edges is not None for edges in bins)
        depth = (2 if embeds else 3) if depth is None else depth
        check_sizes(width, depth, dropout)
        at_least("embedding", embedding, 1)
        require(members >= 2, "members", "be at least 2", members, "One member is an MLP.")
        self.width = width
        self.members = members
        self.architecture: dict[str, Any] = {
            "backbone": "tabm",
            "numeric": numeric,
            "cardinalities": list(cardinalities),
            "width": width,
            "depth": depth,
            "members": members,
            "dropout": dropout,
            "activation": activation,
            "bins": None,
            "embedding": embedding,
        }
        if gates is not None:
            self.architecture["gates"] = asdict(gates)
        self.input: PiecewiseInput | TableInput
        if bins is not None and embeds:
            self.architecture["bins"] = [None if b is None else list(b) for b in bins]
            self.input = PiecewiseInput(
                numeric, cardinalities, bins=bins, embedding=embedding, gates=gates
            )
            pieces = self.input.pieces
        else:
            self.input = TableInput(numeric, cardinalities, gates=gates)
            pieces = [1] * numeric + [self.input.embedding] * self.input.columns
        source = make_tabm_backbone(
            d_in=self.input.width,
            n_blocks=depth,
            d_block=width,
            dropout=dropout,
            k=members,
            start_scaling_init="normal" if embeds else "random-signs",
            start_scaling_init_chunks=pieces,
        )
        layers: list[nn.Module] = []
        for block in source.blocks:
            start = block[0]
            layers += [
                EnsembleLinear(start.weight, start.r, start.s, start.bias),
                activation_layer(activation),
                Dropout(dropout),
            ]
        self.layers = present(layers)
        self.mixable = depth

    def penalties(self, heads: Sequence[Tensor] = ()) -> Mapping[str, Tensor]:
        """The price of the gates."""
        return self.input.penalties()

    def forward(
        self, inputs: Mapping[str, Tensor] | Tensor, mix: Mix | None = None
    ) -> Float[Tensor, "rows members width"]:
        """Encoded rows → one feature vector per member, perhaps mixed after one of the layers."""
        features: Tensor = through(
            self.layers, self.input(inputs).unsqueeze(1), mix, EnsembleLinear
        )
        return features
