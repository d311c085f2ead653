"""Batches of tensors that already lie on the training device: permuted once per epoch, sliced."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from polytask._checks import at_least

from .batch import Batch, Inputs, Window

AT_ONCE = 256
"""Windows that are cut with one call per tensor; a call costs as much as many rows."""

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
        moved = transform(table, lambda tensor: tensor.to(device))
        complete = frozenset(name for name, mask in moved.masks.items() if mask.all())
        self.table = moved._replace(complete=complete)
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
            start = self._position
            stop = min(start + span * AT_ONCE, self.num_rows)
            windows = _cut(rows_between(rows, start, stop), span)
            for place, (batch, counts) in enumerate(windows, start=1):
                # Moved before the update: whoever takes a state does so after it.
                self._position = min(start + place * span, stop)
                if accumulate == 1:
                    yield (batch,), counts
                else:
                    yield _batches(batch, self.batch_size), counts
        self._epoch += 1
        self._position = 0
        self._start = self._generator.get_state()

    def _permuted(self) -> Batch:
        order = torch.randperm(self.num_rows, generator=self._generator)
        order = order.to(self.table.rows.device)
        # A mask without gaps looks the same in any order.
        full = {name: self.table.masks[name] for name in self.table.complete}
        rest = {name: mask for name, mask in self.table.masks.items() if name not in full}
        rows = transform(
            self.table._replace(masks=rest), lambda tensor: tensor.index_select(0, order)
        )
        return rows._replace(masks={n: {**rows.masks, **full}[n] for n in self.table.masks})

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
    """The batch with `function`, which chooses or moves rows, applied to each of its tensors."""
    inputs = batch.inputs
    return Batch(
        function(inputs)
        if isinstance(inputs, Tensor)
        else {name: function(value) for name, value in inputs.items()},
        {name: function(value) for name, value in batch.targets.items()},
        {name: function(value) for name, value in batch.masks.items()},
        None if batch.row_weights is None else function(batch.row_weights),
        function(batch.rows),
        batch.complete,
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


def _cut(rows: Batch, size: int) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
    """Consecutive batches of `size` rows with their label counts; the last may be smaller."""
    batches = _batches(rows, size)
    counts = _all_counts(rows, size)
    counts += [label_counts(batch) for batch in batches[len(counts) :]]
    return zip(batches, counts, strict=True)


def _batches(rows: Batch, size: int) -> list[Batch]:
    places = torch.split(rows.rows, size)
    count = len(places)
    inputs: Sequence[Inputs] = (
        torch.split(rows.inputs, size)
        if isinstance(rows.inputs, Tensor)
        else _pieces(rows.inputs, size, count)
    )
    weights: Sequence[Tensor | None] = (
        [None] * count if rows.row_weights is None else torch.split(rows.row_weights, size)
    )
    targets, masks = _pieces(rows.targets, size, count), _pieces(rows.masks, size, count)
    return list(map(Batch, inputs, targets, masks, weights, places, [rows.complete] * count))


def _pieces(tensors: Mapping[str, Tensor], size: int, count: int) -> list[dict[str, Tensor]]:
    """``{name: tensor}`` → one such mapping per piece."""
    return _joined({name: torch.split(tensor, size) for name, tensor in tensors.items()}, count)


def _joined(pieces: Mapping[str, Sequence[Tensor]], count: int) -> list[dict[str, Tensor]]:
    if len(pieces) == 1:
        ((name, own),) = pieces.items()
        return [{name: piece} for piece in own]
    return [{name: own[i] for name, own in pieces.items()} for i in range(count)]


def _all_counts(rows: Batch, size: int) -> list[dict[str, Tensor]]:
    """Label counts of all complete pieces, one reduction for all of them.

    With row weights the order of a sum shows in its last bits, and it must not depend on where a
    resumed epoch starts: then there are none, and every piece is summed alone.
    """
    count = len(rows.rows) // size
    if rows.row_weights is not None or not count:
        return []
    sums = {}
    for name, mask in rows.masks.items():
        if name in rows.complete:
            sums[name] = mask.new_full((count, *mask.shape[1:]), size, dtype=torch.float32)
        else:
            windows = mask[: count * size].reshape(count, size, *mask.shape[1:])
            sums[name] = windows.sum(1, dtype=torch.float32)
    return _joined({name: own.unbind() for name, own in sums.items()}, count)
