"""The two shapes of a table: wide (a column per target) and long (a row belongs to one task)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import numpy as np

from polytask._checks import unknown
from polytask.errors import DataError
from polytask.tasks import (
    Binary,
    BinaryTask,
    Multiclass,
    MulticlassTask,
    Regression,
    RegressionTask,
    TaskSpec,
)

from .parse import label_values, read_levels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pandas import DataFrame

    Labels = dict[str, NDArray[Any]]
    Predictions = Mapping[str, Mapping[str, NDArray[Any]]]


class TableForm(ABC):
    """Where the labels of each task stand in a table, and where its predictions go.

    Args:
        specs: The tasks.
    """

    specs: tuple[TaskSpec, ...]

    @abstractmethod
    def labels(self, frame: DataFrame) -> Labels:
        """Task → raw values ``[rows]`` or ``[rows, columns]``, missing ones as None or NaN."""

    @abstractmethod
    def assemble(self, frame: DataFrame, predictions: Predictions) -> DataFrame:
        """Task → suffix → values, as columns beside the frame's index."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What `form_from_json` needs besides the specs."""


@final
class WideForm(TableForm):
    """One column per target (or a group of columns).

    Args:
        specs: The tasks; each names its columns.

    Example:
        >>> import pandas
        >>> form = WideForm([Regression("age"), Binary("sex")])
        >>> frame = pandas.DataFrame({"age": ["31", ""], "sex": ["f", "m"]})
        >>> {name: values.tolist() for name, values in form.labels(frame).items()}
        {'age': [31.0, nan], 'sex': ['f', 'm']}
    """

    def __init__(self, specs: Sequence[TaskSpec]) -> None:
        self.specs = tuple(specs)

    def labels(self, frame: DataFrame) -> Labels:
        """One array per task; columns of a group stand side by side."""
        found: Labels = {}
        for spec in self.specs:
            columns = [label_values(_column(frame, name)) for name in spec.source_columns]
            single = len(columns) == 1 and not spec.columns
            found[spec.name] = columns[0] if single else _side_by_side(columns, spec)
        return found

    def assemble(self, frame: DataFrame, predictions: Predictions) -> DataFrame:
        """Columns ``task`` and ``task_suffix``."""
        import pandas

        columns = {
            f"{task}_{suffix}" if suffix else task: values
            for task, parts in predictions.items()
            for suffix, values in parts.items()
        }
        return pandas.DataFrame(columns, index=frame.index)

    def to_json(self) -> dict[str, Any]:
        """The word."""
        return {"form": "wide"}


@final
class LongForm(TableForm):
    """Each row belongs to the task named in `task_column`; one column holds all labels.

    The tasks are called ``column=value``. Regression tasks share one centre and scale, so that
    their losses have one unit, and tasks of classes share one class list, so that their heads are
    equal; `LongForm.spread` sees to both.

    Args:
        task_column: Column with the name of the row's task.
        target: Column with the labels; also the name of the predicted column.
        specs: One task per value.
        values: The value of `task_column` of each spec.
    """

    def __init__(
        self, task_column: str, target: str, specs: Sequence[TaskSpec], values: Sequence[str]
    ) -> None:
        self.task_column = task_column
        self.target = target
        self.specs = tuple(specs)
        self.values = tuple(values)

    @classmethod
    def spread(
        cls,
        template: TaskSpec,
        task_column: str,
        training: DataFrame,
        weights: NDArray[Any] | None = None,
    ) -> LongForm:
        """One task like `template` for every value of `task_column` in the training rows.

        Args:
            template: The target: name, kind and options.
            task_column: Column with the name of the row's task.
            training: Training rows.
            weights: Their row weights.

        Raises:
            DataError: If no row names a task, or for what `TaskSpec.fit` raises.
        """
        (target,) = template.source_columns
        fitted = template.fit(label_values(_column(training, target)), weights)
        shared = template
        if isinstance(template, Regression) and isinstance(fitted, RegressionTask):
            shared = replace(template, center=fitted.center, scale=fitted.scale)
        if isinstance(template, Binary) and isinstance(fitted, BinaryTask):
            shared = replace(template, classes=fitted.classes)
        if isinstance(template, Multiclass) and isinstance(fitted, MulticlassTask):
            shared = replace(template, classes=fitted.classes)
        values = cls._labelled_values(training, task_column, target)
        specs = [
            replace(shared, name=f"{task_column}={value}", columns=(target,)) for value in values
        ]
        return cls(task_column, target, specs, values)

    @staticmethod
    def _labelled_values(training: DataFrame, task_column: str, target: str) -> list[str]:
        codes, levels = read_levels(_column(training, task_column))
        labelled = ~_missing(label_values(_column(training, target)))
        present = np.unique(codes[labelled & (codes >= 0)])
        if len(present) == 0:
            raise DataError(f"No labelled training row names its task in column {task_column!r}.")
        return sorted((levels[code] for code in present), key=_natural)

    def rows(self, frame: DataFrame) -> NDArray[np.int64]:
        """Position of each row's task among the specs, -1 where the cell is empty.

        Raises:
            DataError: If a row names a task that the training rows did not have.
        """
        codes, levels = read_levels(_column(frame, self.task_column))
        positions = {value: position for position, value in enumerate(self.values)}
        strangers = [level for level in levels if level not in positions]
        if strangers:
            raise DataError(
                f"Column {self.task_column!r} names {len(strangers)} task"
                f"{'s' * (len(strangers) > 1)} without a labelled training row: "
                f"{', '.join(repr(s) for s in strangers[:5])}{', …' * (len(strangers) > 5)}. "
                "Leave those rows out."
            )
        lookup = np.array([*(positions[level] for level in levels), -1], dtype=np.int64)
        return lookup[codes]

    def labels(self, frame: DataFrame) -> Labels:
        """Per task the labels of its own rows, gaps elsewhere."""
        values = label_values(_column(frame, self.target))
        rows = self.rows(frame)
        gap = np.nan if values.dtype == np.float64 else None
        found: Labels = {}
        for position, spec in enumerate(self.specs):
            own = np.full(len(values), gap, dtype=values.dtype)
            mine = rows == position
            own[mine] = values[mine]
            found[spec.name] = own
        return found

    def assemble(self, frame: DataFrame, predictions: Predictions) -> DataFrame:
        """One column per suffix, with each row predicted by its own task; empty without a task."""
        import pandas

        rows = self.rows(frame)
        suffixes = next(iter(predictions.values())) if predictions else {}
        columns: dict[str, Any] = {}
        for suffix in suffixes:
            column: pandas.Series[Any] = pandas.Series(np.nan, index=range(len(rows)), dtype=object)
            for position, spec in enumerate(self.specs):
                mine = np.flatnonzero(rows == position)
                if spec.name in predictions and len(mine):
                    column.iloc[mine] = predictions[spec.name][suffix][mine]
            name = f"{self.target}_{suffix}" if suffix else self.target
            columns[name] = column.infer_objects().to_numpy()
        return pandas.DataFrame(columns, index=frame.index)

    def to_json(self) -> dict[str, Any]:
        """Columns and values."""
        return {
            "form": "long",
            "task_column": self.task_column,
            "target": self.target,
            "values": list(self.values),
        }


def form_from_json(document: Mapping[str, Any], specs: Sequence[TaskSpec]) -> TableForm:
    """The inverse of `TableForm.to_json`."""
    if document["form"] == "wide":
        return WideForm(specs)
    return LongForm(document["task_column"], document["target"], specs, document["values"])


def _column(frame: DataFrame, name: str) -> Any:
    if name not in frame.columns:
        raise unknown("column", name, [str(column) for column in frame.columns], DataError)
    return frame[name]


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    import pandas

    return np.asarray(pandas.isna(values), dtype=bool)


def _side_by_side(columns: Sequence[NDArray[Any]], spec: TaskSpec) -> NDArray[Any]:
    if spec.kind != "multilabel":
        return columns[0]
    if all(column.dtype == np.float64 for column in columns):
        return np.stack(columns, axis=1)
    return np.stack([column.astype(object) for column in columns], axis=1)


def _natural(value: str) -> tuple[int, float, str]:
    """Numbers by size, then texts by alphabet."""
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)
