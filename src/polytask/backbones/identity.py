"""No layers at all: heads on top of it are linear models of the inputs."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import require

from .base import Backbone

_RESERVED = 2


@final
class Identity(Backbone):
    """Numeric columns as they are, and one column of zeros and ones per level of a category.

    Category codes are 0 for a missing value, which has a column of its own, 1 for a level that
    training rows did not have, which is a row of zeros, and 2, 3, … for the levels.

    Args:
        numeric: Width of ``inputs["numeric"]``; 0 if there is none.
        cardinalities: Codes of each category column, the two reserved ones included, so at least 3.

    Shapes:
        inputs: ``{"numeric": [rows, numeric], "categories": int64 [rows, columns]}``; an absent
            part may be left out, and without categories the numeric tensor alone is accepted.
        output: ``[rows, numeric + Σ (cardinality − 1)]``.

    Raises:
        InvalidArgument: If there is no input at all, or an input has another width.

    Example:
        >>> layer = Identity(1, [4])
        >>> codes = torch.tensor([[0], [1], [2], [3]])
        >>> layer({"numeric": torch.zeros(4, 1), "categories": codes}).tolist()
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """

    place: Tensor

    def __init__(self, numeric: int, cardinalities: Sequence[int] = ()) -> None:
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
        self.width = numeric + sum(cardinalities) - columns
        self.architecture = {
            "backbone": "identity",
            "numeric": numeric,
            "cardinalities": list(cardinalities),
        }
        if columns:
            sizes = [codes - 1 for codes in cardinalities]
            starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
            self.register_buffer("place", starts, persistent=False)

    def forward(self, inputs: Mapping[str, Tensor] | Tensor) -> Float[Tensor, "rows width"]:
        """Encoded rows → one vector per row."""
        if isinstance(inputs, Tensor):
            inputs = {"numeric": inputs}
        parts: list[Tensor] = []
        if self.numeric:
            parts.append(_part(inputs, "numeric", self.numeric))
        if self.columns:
            codes = _part(inputs, "categories", self.columns)
            hot = self.width - self.numeric
            # Unseen levels go to one more column, which is cut off.
            index = torch.where(codes == 1, hot, codes - (codes > 1).long() + self.place)
            dtype = parts[0].dtype if parts else torch.get_default_dtype()
            wide = torch.zeros(len(codes), hot + 1, dtype=dtype, device=codes.device)
            parts.append(wide.scatter(1, index, 1.0)[:, :hot])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


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
