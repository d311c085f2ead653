"""Batches of tensors that already lie on the training device: permuted once per epoch, sliced."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor

from polytask._checks import at_least

from .batch import Batch, Window

EVALUATION_ROWS = 8192
"""Rows of one batch when nothing is shuffled and no gradient is kept."""


@final
class ResidentBatches:
    """Rows of one encoded table, in windows of micro-batches.

    At the start of an epoch the rows are permuted once by a generator of its own; batches are then
    plain slices, without a copy. The state is (epoch, position, generator at the start of the
    epoch), so a run that was stopped in the middle of an epoch continues with the same rows.

    Args:
        table: All rows.
        batch_size: Rows of a micro-batch; the last one of an epoch may be smaller.
        shuffle: Whether rows are permuted.
        seed: Of the permutations.
        device: Where the tensors live; they are moved once.

    Example:
        >>> x = torch.arange(5.0).unsqueeze(1)
        >>> table = Batch(x, {"y": x}, {"y": x > 0}, None, torch.arange(5))
        >>> batches = ResidentBatches(table, batch_size=2, shuffle=False)
        >>> [(len(window), counts["y"].item()) for window, counts in batches.windows(2)]
        [(2, 3.0), (1, 1.0)]
    """

    def __init__(
        self,
        table: Batch,
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        at_least("batch_size", batch_size, 1)
        self.table = transform(table, lambda tensor: tensor.to(device))
        self.batch_size = batch_size
        self.shuffle = shuffle
        self._generator = torch.Generator().manual_seed(seed)
        self._start = self._generator.get_state()
        self._epoch = 0
        self._position = 0

    @property
    def num_rows(self) -> int:
        """Rows per epoch."""
        return len(self.table.rows)

    def num_windows(self, accumulate: int) -> int:
        """Updates per epoch."""
        return -(-self.num_rows // (self.batch_size * accumulate))

    def windows(self, accumulate: int) -> Iterator[Window]:
        """The rest of the current epoch; afterwards the next epoch begins."""
        at_least("accumulate", accumulate, 1)
        self._generator.set_state(self._start)
        rows = self._permuted() if self.shuffle else self.table
        span = self.batch_size * accumulate
        while self._position < self.num_rows:
            start, stop = self._position, min(self._position + span, self.num_rows)
            self._position = stop
            window = rows_between(rows, start, stop)
            if accumulate == 1:
                yield (window,), label_counts(window)
            else:
                cuts = range(0, stop - start, self.batch_size)
                yield (
                    [rows_between(window, cut, cut + self.batch_size) for cut in cuts],
                    label_counts(window),
                )
        self._epoch += 1
        self._position = 0
        self._start = self._generator.get_state()

    def _permuted(self) -> Batch:
        order = torch.randperm(self.num_rows, generator=self._generator)
        order = order.to(self.table.rows.device)
        return transform(self.table, lambda tensor: tensor.index_select(0, order))

    def epoch(self) -> Iterator[Batch]:
        """All rows once, in table order, in large batches; moves no state."""
        for start in range(0, self.num_rows, EVALUATION_ROWS):
            yield rows_between(self.table, start, start + EVALUATION_ROWS)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, position in it, and the generator at its start."""
        return {"epoch": self._epoch, "position": self._position, "generator": self._start.clone()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._epoch = int(state_dict["epoch"])
        self._position = int(state_dict["position"])
        self._start = state_dict["generator"].to(torch.uint8).cpu().clone()


def transform(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with `function` applied to each of its tensors."""
    inputs = batch.inputs
    return Batch(
        function(inputs)
        if isinstance(inputs, Tensor)
        else {name: function(value) for name, value in inputs.items()},
        {name: function(value) for name, value in batch.targets.items()},
        {name: function(value) for name, value in batch.masks.items()},
        None if batch.row_weights is None else function(batch.row_weights),
        function(batch.rows),
    )


def rows_between(batch: Batch, start: int, stop: int) -> Batch:
    """A view of consecutive rows."""
    return transform(batch, lambda tensor: tensor[start:stop])


def label_counts(batch: Batch) -> dict[str, Tensor]:
    """Per task group, the sum of the row weights over the labelled rows, ``[k]``."""
    if batch.row_weights is None:
        return {name: mask.sum(0, dtype=torch.float32) for name, mask in batch.masks.items()}
    weights = batch.row_weights.to(torch.float32)
    return {name: weights @ mask.to(torch.float32) for name, mask in batch.masks.items()}
