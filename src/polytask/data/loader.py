"""A user's own DataLoader as batches: any data set, tables or not, with gaps in the labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from polytask._checks import at_least
from polytask.errors import InvalidArgument, Unsupported
from polytask.tasks.base import Task
from polytask.tasks.groups import TaskGroup

from .batch import Batch, Inputs, Window
from .batches import label_counts, transform

FORM = (
    "An item must be (inputs, targets) or (inputs, targets, masks): inputs a tensor or a "
    "dictionary of tensors, targets a dictionary {task: value} in the user's units with NaN for a "
    "missing one, masks a dictionary {task: True where there is a label}."
)


@final
class LoaderBatches:
    """Batches from a ``DataLoader`` over a data set of one's own.

    Each epoch the loader's sampler is asked for its order once, under a seed of our own, and the
    rows already seen in a resumed epoch are not even loaded. Targets go through `Task.encode`, so
    classes may be texts and numbers are standardised.

    Args:
        loader: Yields items as `FORM` says; its data set must have a length.
        groups: The fitted tasks in groups (`polytask.tasks.group_tasks`).
        seed: Of a sampler that has no generator of its own.
        device: Where the tensors go.

    Raises:
        InvalidArgument: If the first item has another form; the error says what it must look like.
        Unsupported: If the data set has no length and order.

    Example:
        >>> from polytask.tasks import Regression, group_tasks
        >>> x, y = torch.randn(6, 3), torch.arange(6.0)
        >>> data = [(x[i], {"y": y[i]}) for i in range(6)]
        >>> groups = group_tasks([Regression("y").fit(y.numpy())])
        >>> batches = LoaderBatches(DataLoader(data, batch_size=4, shuffle=True), groups)
        >>> [int(counts["y"]) for _, counts in batches.windows(1)]
        [4, 2]
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        groups: Sequence[TaskGroup],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
            raise Unsupported(
                "`loader` must batch a data set with a length and an order of its own, so that a "
                "run can be resumed; got a streaming or unbatched one. Wrap it in a Dataset with "
                "__len__ and __getitem__, and give batch_size."
            )
        self.loader = loader
        self.groups = tuple(groups)
        self.device = torch.device(device)
        self._seed = seed
        self._epoch = 0
        self._position = 0
        self._start = self._generator_state()
        check_item(loader.dataset[0], [task.name for group in groups for task in group.tasks])

    @property
    def num_rows(self) -> int:
        """Rows per epoch."""
        return _length(self.loader.dataset)

    def num_windows(self, accumulate: int) -> int:
        """Updates per epoch."""
        return -(-len(self.loader) // accumulate)

    def windows(self, accumulate: int) -> Iterator[Window]:
        """The rest of the current epoch; afterwards the next epoch begins."""
        at_least("accumulate", accumulate, 1)
        order = self._order()
        done = self._position
        batches = self._load(order[done:])
        while self._position < len(order):
            count = min(accumulate, len(order) - self._position)
            window = [next(batches) for _ in range(count)]
            counts = [label_counts(batch) for batch in window]
            self._position += count
            yield window, {name: sum((c[name] for c in counts[1:]), counts[0][name])
                           for name in counts[0]}  # fmt: skip
        self._epoch += 1
        self._position = 0
        self._start = self._generator_state()

    def epoch(self) -> Iterator[Batch]:
        """All rows once, in the data set's order; moves no state."""
        size = max(self.loader.batch_size or 1, 256)
        starts = range(0, self.num_rows, size)
        return self._load([list(range(s, min(s + size, self.num_rows))) for s in starts])

    def state_dict(self) -> dict[str, Any]:
        """Epoch, micro-batches done in it, and the loader's generator at its start."""
        return {"epoch": self._epoch, "position": self._position, "generator": self._start}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._epoch = int(state_dict["epoch"])
        self._position = int(state_dict["position"])
        self._start = state_dict["generator"]

    def _generator_state(self) -> Tensor | None:
        generator = self.loader.generator
        return None if generator is None else generator.get_state()

    def _order(self) -> list[list[int]]:
        """The row numbers of every micro-batch of this epoch."""
        if self.loader.generator is not None and self._start is not None:
            self.loader.generator.set_state(self._start)
        with torch.random.fork_rng(devices=[]):
            # A sampler without a generator draws its seed from the global one.
            torch.manual_seed((self._seed * 1_000_003 + self._epoch) % 2**63)
            return [list(rows) for rows in self.loader.batch_sampler or ()]

    def _load(self, order: Iterable[list[int]]) -> Iterator[Batch]:
        order = list(order)
        loader = self.loader
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self._seed * 1_000_003 + self._epoch) % 2**63)
            again: DataLoader[Any] = DataLoader(
                loader.dataset,
                batch_sampler=order,
                num_workers=loader.num_workers,
                collate_fn=loader.collate_fn,
                pin_memory=loader.pin_memory,
                worker_init_fn=loader.worker_init_fn,
            )
            items = iter(again)
        for rows, item in zip(order, items, strict=True):
            yield self._batch(rows, item)

    def _batch(self, rows: Sequence[int], item: Any) -> Batch:
        inputs, targets = item[0], item[1]
        given = item[2] if len(item) == 3 else {}
        encoded, masks = {}, {}
        for group in self.groups:
            pairs = [
                _encode(task, targets[task.name], given.get(task.name)) for task in group.tasks
            ]
            encoded[group.name] = torch.stack([target for target, _ in pairs], dim=1)
            masks[group.name] = torch.stack([mask for _, mask in pairs], dim=1)
        batch = Batch(_inputs(inputs), encoded, masks, None, torch.as_tensor(rows))
        return transform(batch, lambda tensor: tensor.to(self.device))


def check_item(item: object, tasks: Sequence[str]) -> None:
    """Raises `InvalidArgument` unless an item has a form that training can use.

    Args:
        item: What ``dataset[0]`` gave.
        tasks: Names of the tasks.
    """
    import pandas

    if isinstance(item, pandas.Series | pandas.DataFrame):
        raise InvalidArgument(
            f"The data set's first item is a pandas {type(item).__name__}, which holds no tensors "
            f"and does not say what is a target. {FORM} For a table, fit_table(frame, run) or "
            "MultiTaskEstimator reads the frame itself, and much faster."
        )
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise InvalidArgument(f"The data set's first item is a {type(item).__name__}{size}. {FORM}")
    inputs, targets = item[0], item[1]
    parts = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    for part in parts:
        if not isinstance(part, Tensor | np.ndarray):
            raise InvalidArgument(
                f"The inputs of the data set's first item are {type(part).__name__}. {FORM}"
            )
    if not isinstance(targets, Mapping):
        raise InvalidArgument(
            f"The targets of the data set's first item are {type(targets).__name__}. {FORM}"
        )
    lacking = [name for name in tasks if name not in targets]
    if lacking:
        raise InvalidArgument(
            f"The targets of the data set's first item lack the task {lacking[0]!r}; they have "
            f"{sorted(map(str, targets))}. Give NaN where a label is missing."
        )
    if len(item) == 3 and not isinstance(item[2], Mapping):
        raise InvalidArgument(
            f"The masks of the data set's first item are {type(item[2]).__name__}. {FORM}"
        )


def _encode(task: Task, values: Any, given: Any) -> tuple[Tensor, Tensor]:
    cells = values.numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=object)
    target, mask = task.encode(cells)
    if given is not None:
        mask = mask & torch.as_tensor(given, dtype=torch.bool)
    return target, mask


def _inputs(inputs: Any) -> Inputs:
    if isinstance(inputs, Mapping):
        return {name: torch.as_tensor(value) for name, value in inputs.items()}
    return torch.as_tensor(inputs)


def _length(dataset: Any) -> int:
    return len(dataset)
