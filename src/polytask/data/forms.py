"""The two shapes of a table: several target columns (wide), or one task per row (long)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from polytask._checks import unknown
from polytask.errors import DataError
from polytask.tasks.base import TaskSpec
from polytask.tasks.binary import Binary, BinaryTask
from polytask.tasks.multiclass import Multiclass, MulticlassTask
from polytask.tasks.regression import Regression, RegressionTask

from .parse import label_values, read_levels, read_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    Predictions = Mapping[str, Mapping[str, NDArray[Any]]]


@final
@dataclass(frozen=True)
class WideForm:
    """Every task has its own column (or group of columns); a row may have a label for each.

    Args:
        specs: The tasks, in the user's order.
        ids: Columns that pass from the table to the predictions.

    Example:
        >>> import pandas
        >>> form = WideForm((Regression("y"), Binary("z")))
        >>> form.values(pandas.DataFrame({"y": ["1", ""], "z": ["no", "yes"]}), form.specs[0])
        array([ 1., nan])
    """

    specs: tuple[TaskSpec, ...]
    ids: tuple[str, ...] = ()

    @property
    def target_columns(self) -> tuple[str, ...]:
        """Every column that holds labels."""
        return tuple(dict.fromkeys(c for spec in self.specs for c in spec.source_columns))

    def values(self, frame: DataFrame, spec: TaskSpec) -> NDArray[Any]:
        """The raw labels of one task, ``[rows]`` or ``[rows, columns]``; gaps None or NaN.

        Raises:
            DataError: If the table lacks the column.
        """
        return _label_block(frame, spec)

    def all_values(self, frame: DataFrame) -> Iterator[tuple[TaskSpec, NDArray[Any]]]:
        """The raw labels of every task."""
        return ((spec, _label_block(frame, spec)) for spec in self.specs)

    def pooled(self, frame: DataFrame, weights: NDArray[Any] | None = None) -> Self:
        """The same form: wide tasks share no statistics."""
        return self

    def check(self, frame: DataFrame) -> None:
        """Raises `DataError` if rows to predict lack an id column."""
        _require(frame, self.ids)

    def assemble(self, frame: DataFrame, predictions: Predictions) -> DataFrame:
        """One table of predictions: the id columns, then the columns of each task.

        Args:
            frame: The rows that were predicted.
            predictions: Task → suffix → values ``[rows]``; the suffix ``""`` is the task's own
                column, others are joined by an underscore.
        """
        self.check(frame)
        columns = {
            _column(name, suffix): values
            for name, block in predictions.items()
            for suffix, values in block.items()
        }
        return _table(frame, self.ids, columns)

    def to_json(self) -> dict[str, Any]:
        """JSON values; the tasks are stored elsewhere."""
        return {"form": "wide", "ids": list(self.ids)}


@final
@dataclass(frozen=True)
class LongForm:
    """Each row belongs to one task, named in a column; all tasks share one label column.

    Regression tasks share the centre and scale of the pooled training labels, classification
    tasks share one class list, so that one stacked head and one unit serve all of them.

    Args:
        template: The task as the user named it: its name is that of the label column.
        task_column: Names the task of each row.
        task_values: The tasks, as texts; the task of value v is called ``"{task_column}={v}"``.
        ids: Columns that pass from the table to the predictions.
        specs: One per value; made by `create` and `pooled`.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame({"school": [7, 7, 9], "y": [1.0, 2.0, 3.0]})
        >>> form = LongForm.create(frame, "school", Regression("y"))
        >>> [spec.name for spec in form.specs]
        ['school=7', 'school=9']
        >>> form.values(frame, form.specs[0])
        array([ 1.,  2., nan])
    """

    template: TaskSpec
    task_column: str
    task_values: tuple[str, ...]
    specs: tuple[TaskSpec, ...]
    ids: tuple[str, ...] = ()

    @classmethod
    def create(
        cls, frame: DataFrame, task_column: str, template: TaskSpec, *, ids: Sequence[str] = ()
    ) -> Self:
        """One task per value of `task_column`, in numerical or else alphabetical order.

        Raises:
            DataError: If the column does not exist or is empty.
        """
        _require(frame, (task_column,))
        _, levels = read_levels(frame[task_column])
        if not levels:
            raise DataError(f"The task column {task_column!r} is empty: no row belongs to a task.")
        numbers, strangers = read_numbers(_series(levels))
        if strangers.any() or np.isnan(numbers).any():
            ordered = sorted(levels)
        else:
            ordered = [levels[i] for i in np.argsort(numbers, kind="stable")]
        specs = _specs(template, task_column, ordered)
        return cls(template, task_column, tuple(ordered), specs, tuple(ids))

    @property
    def target_columns(self) -> tuple[str, ...]:
        """Every column that holds labels."""
        return self.template.source_columns

    def values(self, frame: DataFrame, spec: TaskSpec) -> NDArray[Any]:
        """The raw labels of one task; rows of other tasks have none."""
        wanted = self.specs.index(spec)
        return _only(_label_block(frame, self.template), self.positions(frame) == wanted)

    def all_values(self, frame: DataFrame) -> Iterator[tuple[TaskSpec, NDArray[Any]]]:
        """The raw labels of every task; reads the table once."""
        block, positions = _label_block(frame, self.template), self.positions(frame)
        return ((spec, _only(block, positions == k)) for k, spec in enumerate(self.specs))

    def pooled_values(self, frame: DataFrame) -> NDArray[Any]:
        """The raw labels of all tasks together; rows without a task have none."""
        return _only(_label_block(frame, self.template), self.positions(frame) >= 0)

    def positions(self, frame: DataFrame) -> NDArray[np.int64]:
        """Position of each row's task in `specs`, -1 where the task is missing.

        Raises:
            DataError: If there is no task column, or a value that training did not have.
        """
        _require(frame, (self.task_column,))
        codes, levels = read_levels(frame[self.task_column])
        places = {value: place for place, value in enumerate(self.task_values)}
        strangers = [level for level in levels if level not in places]
        if strangers:
            shown = ", ".join(repr(level) for level in strangers[:5])
            more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
            raise DataError(
                f"The task column {self.task_column!r} has values that training did not have: "
                f"{shown}{more}. A task without training rows has no head; remove those rows."
            )
        lookup = np.array([*(places[level] for level in levels), -1], dtype=np.int64)
        return lookup[codes]

    def pooled(self, frame: DataFrame, weights: NDArray[Any] | None = None) -> Self:
        """The form whose tasks share what is learned from all training labels together.

        Args:
            frame: Training rows only.
            weights: Row weights ``[rows]``, or None.
        """
        task = self.template.fit(self.pooled_values(frame), weights)
        template = self.template
        if isinstance(template, Regression) and isinstance(task, RegressionTask):
            template = replace(template, center=task.center, scale=task.scale)
        elif isinstance(template, Binary | Multiclass):
            assert isinstance(task, BinaryTask | MulticlassTask)
            template = replace(template, classes=task.classes)
        return replace(self, specs=_specs(template, self.task_column, self.task_values))

    def check(self, frame: DataFrame) -> None:
        """Raises `DataError` if rows to predict lack an id or task column, or name a new task."""
        _require(frame, self.ids)
        self.positions(frame)

    def assemble(self, frame: DataFrame, predictions: Predictions) -> DataFrame:
        """One table of predictions: the id columns, the task, one column per suffix.

        Args:
            frame: The rows that were predicted.
            predictions: Task → suffix → values ``[rows]``; of each row only those of its own task
                are kept. Rows whose task is missing or not predicted get no value.
        """
        self.check(frame)
        positions = self.positions(frame)
        columns: dict[str, NDArray[Any]] = {}
        suffixes = dict.fromkeys(s for block in predictions.values() for s in block)
        for suffix in suffixes:
            pieces = [
                (np.flatnonzero(positions == place), predictions[spec.name][suffix])
                for place, spec in enumerate(self.specs)
                if suffix in predictions.get(spec.name, {})
            ]
            columns[_column(self.template.name, suffix)] = _merge(len(frame), pieces)
        kept = dict.fromkeys((*self.ids, self.task_column))
        return _table(frame, tuple(kept), columns)

    def to_json(self) -> dict[str, Any]:
        """JSON values; the tasks are stored elsewhere."""
        return {
            "form": "long",
            "ids": list(self.ids),
            "task_column": self.task_column,
            "task_values": list(self.task_values),
            "name": self.template.name,
        }


Form = WideForm | LongForm


def form_from_json(document: Mapping[str, Any], specs: Sequence[TaskSpec]) -> Form:
    """The inverse of ``to_json``.

    Args:
        document: What ``to_json`` gave.
        specs: The tasks in the user's order.
    """
    ids = tuple(document["ids"])
    if document["form"] == "wide":
        return WideForm(tuple(specs), ids)
    template = replace(specs[0], name=document["name"])
    values = tuple(document["task_values"])
    return LongForm(template, document["task_column"], values, tuple(specs), ids)


def _specs(template: TaskSpec, task_column: str, values: Sequence[str]) -> tuple[TaskSpec, ...]:
    columns = template.source_columns
    return tuple(replace(template, name=f"{task_column}={v}", columns=columns) for v in values)


def _label_block(frame: DataFrame, spec: TaskSpec) -> NDArray[Any]:
    _require(frame, spec.source_columns)
    blocks = [label_values(frame[column]) for column in spec.source_columns]
    if len(blocks) == 1 and spec.kind != "multilabel":
        return blocks[0]
    if any(block.dtype == object for block in blocks):
        blocks = [block.astype(object) for block in blocks]
    return np.stack(blocks, axis=1)


def _only(block: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """`block` with gaps where `kept` is False."""
    block = block.copy()
    block[~kept] = None if block.dtype == object else np.nan
    return block


def _merge(rows: int, pieces: Sequence[tuple[NDArray[np.int64], NDArray[Any]]]) -> NDArray[Any]:
    """One column from the rows of several; gaps where no piece has the row."""
    kinds = {values.dtype.kind for _, values in pieces}
    complete = sum(len(places) for places, _ in pieces) == rows
    if kinds == {"f"} or (complete and len(kinds) == 1 and kinds <= set("iub")):
        dtype = np.result_type(*(values.dtype for _, values in pieces))
        merged = np.full(rows, np.nan if kinds == {"f"} else 0, dtype=dtype)
    else:
        merged = np.full(rows, None, dtype=object)
    for places, values in pieces:
        merged[places] = values[places]
    return merged


def _column(name: str, suffix: str) -> str:
    return f"{name}_{suffix}" if suffix else name


def _table(
    frame: DataFrame, kept: tuple[str, ...], columns: Mapping[str, NDArray[Any]]
) -> DataFrame:
    import pandas

    predicted = pandas.DataFrame(dict(columns), index=frame.index)
    clash = [name for name in kept if name in columns]
    if clash:
        raise DataError(f"Column {clash[0]!r} cannot be both an id and a prediction; rename one.")
    return pandas.concat([frame[list(kept)], predicted], axis=1) if kept else predicted


def _require(frame: DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if name not in frame.columns:
            raise unknown("column", name, [str(column) for column in frame.columns], DataError)


def _series(values: Sequence[str]) -> Any:
    import pandas

    return pandas.Series(list(values), dtype="str")
