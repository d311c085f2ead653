"""The form of a batch, and of anything that yields batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

Inputs = Tensor | Mapping[str, Tensor]


class Batch(NamedTuple):
    """Rows ready for the model; a whole encoded table is a batch of all its rows.

    Args:
        inputs: ``[rows, features]``, or a mapping of such tensors (tables use ``"numeric"``
            float32 and ``"categories"`` int64).
        targets: Per task group, ``[rows, k]`` or ``[rows, k, labels]``; gaps filled.
        masks: Per task group, ``[rows, k]``, True where a label exists.
        row_weights: ``[rows]`` float32, or None for ones.
        rows: ``[rows]`` int64, positions in the table the batch was taken from.
        complete: Task groups that are known to lack no label in any row: an update then leaves
            their masks alone. A group that is not named may be complete as well.
    """

    inputs: Inputs
    targets: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    row_weights: Tensor | None
    rows: Tensor
    complete: frozenset[str] = frozenset()


Window = tuple[Sequence[Batch], Mapping[str, Tensor]]
"""The micro-batches of one update, and per task group the label counts ``[k]`` of all of them."""


class Batches(Protocol):
    """Training rows in windows: label counts come first, then the micro-batches."""

    def windows(self, accumulate: int) -> Iterator[Window]:
        """The rest of the current epoch, `accumulate` micro-batches per update."""

    def epoch(self) -> Iterator[Batch]:
        """All rows once, in table order, unshuffled: for evaluation. Moves no state."""

    def num_windows(self, accumulate: int) -> int:
        """Updates per epoch."""

    @property
    def num_rows(self) -> int:
        """Rows per epoch."""

    def state_dict(self) -> dict[str, Any]:
        """(epoch, position in the epoch, generator)."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
