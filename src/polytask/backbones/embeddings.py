"""Piecewise-linear embeddings: numeric columns as learned curves with bends at quantiles."""

import warnings
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask._checks import at_least, require
from polytask.optim.roles import Kind

from .gates import L0Gates
from .table_input import TableInput

_FEWEST_EDGES = 3
_ENOUGH_ROWS = 1_000_000
_NARROWEST = 1e-5


def piecewise_bins(
    numeric: Float[Tensor, "rows columns"], count: int = 48
) -> list[list[float] | None]:
    """The bin edges of every numeric column, at its quantiles.

    The edges are the distinct quantiles at 0, 1/count, …, 1 of the given rows, which must be
    training rows alone. A column that two edges describe is None and passes through as it is: an
    indicator, one level of a category, a constant, or a column that is nearly always one value.

    Args:
        numeric: Encoded numeric inputs of the training rows, finite.
        count: Bins per column, at least 2; fewer where the rows or distinct values are few.

    Shapes:
        numeric: ``[rows, columns]``.
        output: one list per column: increasing edges, at least 3, or None.

    Raises:
        InvalidArgument: If the input is not a matrix or not finite, or `count` is below 2.

    Example:
        >>> age, smoker = torch.arange(9.0), torch.arange(9.0) % 2
        >>> piecewise_bins(torch.stack([age, smoker], dim=1), count=4)
        [[0.0, 2.0, 4.0, 6.0, 8.0], None]

    Note:
        From a million rows on, evenly spaced ones are enough. Edges closer than 1e-5 of their
        size are merged: single precision cannot tell where a value lies between them.

    Reference:
        Gorishniy, Rubachev & Babenko, On Embeddings for Numerical Features in Tabular Deep
        Learning, NeurIPS 2022, section 3.2. https://arxiv.org/abs/2203.05556
    """
    from rtdl_num_embeddings import compute_bins

    require(numeric.ndim == 2, "numeric", "have shape [rows, columns]", list(numeric.shape))
    at_least("count", count, 2)
    numeric = numeric.detach().cpu()
    numeric = numeric[:: len(numeric) // _ENOUGH_ROWS + 1]
    require(bool(numeric.isfinite().all()), "numeric", "be finite", "NaN or infinity")
    found: list[list[float] | None] = [None] * numeric.shape[1]
    distinct = [len(np.unique(column)) for column in numeric.numpy().T]
    several = [j for j, values in enumerate(distinct) if values >= _FEWEST_EDGES]
    if several:
        with warnings.catch_warnings():
            # One bin says no more than the column itself: it passes through.
            warnings.filterwarnings("ignore", message=".*just two bin edges")
            edges = compute_bins(numeric[:, several], n_bins=min(count, len(numeric) - 1))
        for column, tensor in zip(several, edges, strict=True):
            apart = _apart(tensor.tolist())
            found[column] = apart if len(apart) >= _FEWEST_EDGES else None
    return found


def _apart(edges: Sequence[float]) -> list[float]:
    """The edges without those too close to the one before; the first and the last stay."""
    kept = [edges[0]]
    for edge in edges[1:]:
        if edge - kept[-1] >= _NARROWEST * max(abs(edge), abs(kept[-1])):
            kept.append(edge)
        elif len(kept) > 1 and edge == edges[-1]:
            kept[-1] = edge
    return kept


@final
class PiecewiseInput(nn.Module):
    r"""`TableInput` with a learned curve, instead of a number, for every column with bins.

    A value x of a column with edges :math:`b_0 < … < b_B` is encoded as
    :math:`e_t = (x - b_{t-1}) / (b_t - b_{t-1})`, t = 1 … B, clipped to 0 … 1 (the first not from
    below, the last not from above), and embedded as :math:`u + v\,x + E^\top e` with vectors u
    (`offset`) and v (`slope`) and a table E of the column's own. E starts at zero: the embedding
    begins linear and bends where training asks for it.

    The slopes are scales of an input (`Kind.NORM`), never decayed; the table is decayed like other
    embeddings (`Kind.EMBEDDING`), as in the reference's own experiments.

    Args:
        numeric: Width of the numeric input.
        cardinalities: Codes of each category column (see `TableInput`).
        bins: Per numeric column the increasing edges, at least 3, or None: it passes through.
        embedding: Width of the vector of each column with bins, at least 1.
        gates: Learns which columns are read; a curve whose gate is closed reads 0.

    Shapes:
        inputs: As `TableInput`.
        output: ``[rows, width]``: the columns without bins, then the categories, then the curves.

    Raises:
        InvalidArgument: If `bins` does not fit the columns or no column has any.

    Example:
        >>> layer = PiecewiseInput(2, bins=[[0.0, 1.0, 4.0], None], embedding=3)
        >>> layer.width, layer.pieces, tuple(layer(torch.zeros(5, 2)).shape)
        (4, [1, 3], (5, 4))

    Reference:
        Gorishniy, Rubachev & Babenko, On Embeddings for Numerical Features in Tabular Deep
        Learning, NeurIPS 2022, section 3.2. https://arxiv.org/abs/2203.05556
        Gorishniy, Kotelnikov & Babenko, TabM: Advancing Tabular Deep Learning with
        Parameter-Efficient Ensembling, ICLR 2025 (the linear part, the start at zero).
        https://arxiv.org/abs/2410.24210
    """

    embedded: Tensor
    plain: Tensor

    def __init__(
        self,
        numeric: int,
        cardinalities: Sequence[int] = (),
        *,
        bins: Sequence[Sequence[float] | None],
        embedding: int = 16,
        gates: L0Gates | None = None,
    ) -> None:
        from rtdl_num_embeddings import PiecewiseLinearEmbeddings

        super().__init__()
        at_least("embedding", embedding, 1)
        require(len(bins) == numeric, "bins", f"have an entry for all {numeric} columns", len(bins))
        columns = [column for column, edges in enumerate(bins) if edges is not None]
        require(len(columns) > 0, "bins", "hold the edges of at least one column", list(bins))
        edges = [torch.tensor(edges, dtype=torch.float32) for edges in bins if edges is not None]
        for column, tensor in zip(columns, edges, strict=True):
            require(
                len(tensor) >= _FEWEST_EDGES and bool((tensor.diff() > 0).all()),
                f"bins[{column}]",
                "hold at least 3 increasing numbers",
                bins[column],
            )
        self.table = TableInput(numeric, cardinalities, gates=gates)
        source = PiecewiseLinearEmbeddings(edges, embedding, activation=False, version="B")
        self.encoding = source.impl
        self.slope: nn.Parameter = source.linear0.weight
        self.offset: nn.Parameter = source.linear0.bias
        self.curves: nn.Parameter = source.linear.weight
        plain = [column for column in range(self.table.width) if column not in set(columns)]
        self.register_buffer("embedded", torch.tensor(columns), persistent=False)
        self.register_buffer("plain", torch.tensor(plain, dtype=torch.int64), persistent=False)
        self.width = len(plain) + len(columns) * embedding
        self.pieces = [1] * (numeric - len(columns))
        self.pieces += [self.table.embedding] * self.table.columns + [embedding] * len(columns)

    def penalties(self) -> dict[str, Tensor]:
        """The price of the gates."""
        return self.table.penalties()

    def parameter_kinds(self) -> dict[str, Kind]:
        """The slopes are scales, the offsets biases, the curves embeddings."""
        return {"slope": Kind.NORM, "offset": Kind.BIAS, "curves": Kind.EMBEDDING}

    def forward(self, inputs: Mapping[str, Tensor] | Tensor) -> Float[Tensor, "rows width"]:
        """Encoded rows → one vector per row."""
        table: Tensor = self.table(inputs)
        numbers = table[:, self.embedded]
        linear = torch.addcmul(self.offset, self.slope, numbers.unsqueeze(-1))
        bends = (self.encoding(numbers).transpose(0, 1) @ self.curves).transpose(0, 1)
        return torch.cat([table[:, self.plain], (linear + bends).flatten(1)], dim=1)
