"""The first layer for tables: numbers as they are, categories as learned vectors."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask._checks import require
from polytask.optim.roles import Kind

from .gates import InputGates, L0Gates

_RESERVED = 2
_WIDEST = 8


def embedding_width(cardinalities: Sequence[int]) -> int:
    """The width of the vector of every category: 8, or the largest number of levels if smaller.

    Eight is the value that RealMLP found to work for all columns with more than nine levels; one
    width for all columns makes the look-up of all of them one operation.

    Args:
        cardinalities: Codes per category column, the two reserved ones included.

    Example:
        >>> embedding_width([12, 300]), embedding_width([5, 6])
        (8, 4)

    Reference:
        Holzmüller, Grinsztajn & Steinwart, Better by Default: Strong Pre-Tuned MLPs and Boosted
        Trees on Tabular Data, NeurIPS 2024. https://arxiv.org/abs/2407.04491
    """
    return min(_WIDEST, max(cardinalities, default=_RESERVED) - _RESERVED)


@final
class TableInput(nn.Module):
    """Concatenates the numeric columns and one learned vector per category column.

    Category codes are 0 for a missing value, 1 for a level that training rows did not have, and
    2, 3, … for the levels. The vectors of codes 0 and 1 are a parameter of their own
    (`Kind.MISSING`): they start at zero, the centre of the levels' distribution, and are never
    decayed or penalised. The levels (`Kind.EMBEDDING`) start uniformly in ±1/√width.

    Args:
        numeric: Width of ``inputs["numeric"]``; 0 if there is none.
        cardinalities: Number of codes of each column of ``inputs["categories"]``, the two reserved
            ones included, so at least 3.
        gates: Learns which columns are read (`InputGates`); None: all of them.

    Shapes:
        inputs: ``{"numeric": [rows, numeric], "categories": int64 [rows, columns]}``; an absent
            part may be left out, and without categories the numeric tensor alone is accepted.
        output: ``[rows, numeric + columns · embedding width]``.

    Raises:
        InvalidArgument: If there is no input at all, or an input has another width.

    Example:
        >>> layer = TableInput(2, [12, 20])
        >>> inputs = {"numeric": torch.zeros(4, 2), "categories": torch.zeros(4, 2).long()}
        >>> layer.width, tuple(layer(inputs).shape)
        (18, (4, 18))
    """

    missing_shift: Tensor
    level_shift: Tensor

    def __init__(
        self, numeric: int, cardinalities: Sequence[int] = (), *, gates: L0Gates | None = None
    ) -> None:
        super().__init__()
        require(numeric >= 0, "numeric", "be at least 0", numeric)
        require(
            all(codes > _RESERVED for codes in cardinalities),
            "cardinalities",
            "be at least 3 for every column",
            list(cardinalities),
        )
        columns = len(cardinalities)
        require(numeric + columns > 0, "numeric", "be at least 1 without category columns", numeric)
        self.numeric = numeric
        self.columns = columns
        self.embedding = embedding_width(cardinalities)
        self.width = numeric + columns * self.embedding
        widths = [1] * numeric + [self.embedding] * columns
        self.gates = None if gates is None else InputGates(gates, widths)
        if columns:
            self.missing = nn.Parameter(torch.zeros(columns * _RESERVED, self.embedding))
            levels = [codes - _RESERVED for codes in cardinalities]
            self.weight = nn.Parameter(torch.empty(sum(levels), self.embedding))
            bound = 1.0 / math.sqrt(self.embedding)
            nn.init.uniform_(self.weight, -bound, bound)
            # Row of a code in the table [missing; weight]: code + shift of its column.
            starts = torch.tensor([0, *levels[:-1]]).cumsum(0)
            level_shift = (columns - 1) * _RESERVED + starts
            self.register_buffer(
                "missing_shift", torch.arange(columns) * _RESERVED, persistent=False
            )
            self.register_buffer("level_shift", level_shift, persistent=False)

    def parameter_kinds(self) -> dict[str, Kind]:
        """The rows for missing and unseen values are a kind of their own."""
        return {"missing": Kind.MISSING, "weight": Kind.EMBEDDING} if self.columns else {}

    def penalties(self) -> dict[str, Tensor]:
        """The price of the gates."""
        return {} if self.gates is None else {"input gates": self.gates.penalty()}

    def forward(self, inputs: Mapping[str, Tensor] | Tensor) -> Float[Tensor, "rows width"]:
        """Encoded rows → one vector per row."""
        if isinstance(inputs, Tensor):
            inputs = {"numeric": inputs}
        parts: list[Tensor] = []
        if self.numeric:
            parts.append(_part(inputs, "numeric", self.numeric))
        if self.columns:
            codes = _part(inputs, "categories", self.columns)
            table = torch.cat([self.missing, self.weight])
            shift = torch.where(codes < _RESERVED, self.missing_shift, self.level_shift)
            parts.append(nn.functional.embedding(codes + shift, table).flatten(1))
        rows = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return rows if self.gates is None else self.gates(rows)


def _part(inputs: Mapping[str, Tensor], name: str, width: int) -> Tensor:
    require(name in inputs, "inputs", f"hold {name!r}", sorted(inputs))
    part = inputs[name]
    require(
        part.ndim == 2 and part.shape[1] == width,
        f"inputs[{name!r}]",
        f"have shape [rows, {width}]",
        list(part.shape),
    )
    return part
