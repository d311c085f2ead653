"""Predictions in the caller's own classes and shapes, and their score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from polytask.data import LongForm, label_values
from polytask.errors import DataError, Unsupported
from polytask.export import Bundle
from polytask.tasks import Task
from polytask.tasks.binary import BinaryTask
from polytask.tasks.classes import label_array, read_labels
from polytask.tasks.multiclass import MulticlassTask
from polytask.tasks.multilabel import MultilabelTask

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from torch import Tensor

Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Classes:
    """The classes of one label column.

    Args:
        labels: As the caller wrote them, sorted; the order of the probabilities.
        places: Position in `labels` of each class of the task.
    """

    labels: Array
    places: tuple[int, ...]


@final
@dataclass(frozen=True)
class Answer:
    """What one label column is predicted to be.

    Args:
        column: Name of the column.
        values: ``[rows]``.
        classes: The task's classes; None for numbers.
        probabilities: ``[rows, classes]`` in their order; None for numbers.
    """

    column: str
    values: Array
    classes: Array | None = None
    probabilities: Array | None = None


def answer_columns(bundle: Bundle, frame: "DataFrame") -> list[Answer]:
    """The answers to all label columns, in the targets' order.

    Rows of a long table that belong to no task get None and NaN.

    Args:
        bundle: The model.
        frame: Rows with the input columns.

    Raises:
        Unsupported: For multilabel groups of a long table.
    """
    if isinstance(bundle.form, LongForm):
        return [_long_answer(bundle, bundle.form.template.name, frame)]
    outputs = bundle.outputs(frame)
    return [answer for task in bundle.tasks for answer in task_answers(task, outputs[task.name])]


def task_answers(task: Task, output: "Tensor") -> list[Answer]:
    """The answers of a task, one per label column.

    Args:
        task: The task.
        output: Its raw output ``[rows, outputs]``.
    """
    found = task.predict(output)
    if isinstance(task, MultilabelTask):
        return [
            Answer(column, found[column], label_array(pair), _both(found[f"probability_{column}"]))
            for column, pair in zip(task.spec.columns, task.classes, strict=True)
        ]
    if isinstance(task, BinaryTask | MulticlassTask):
        return [Answer(task.name, found[""], label_array(task.classes), _chances(task, found, ""))]
    return [Answer(task.name, found[""])]


def _long_answer(bundle: Bundle, name: str, frame: "DataFrame") -> Answer:
    first = bundle.tasks[0]
    if isinstance(first, MultilabelTask):
        raise Unsupported(
            "The estimator cannot give multilabel groups of a long table as one column; use "
            "`bundle_.predict(frame)`."
        )
    table = bundle.predict(frame)
    values = table[name].to_numpy()
    if not isinstance(first, BinaryTask | MulticlassTask):
        return Answer(name, values)
    columns = {str(key): table[key].to_numpy() for key in table.columns}
    chances = _chances(first, columns, f"{name}_").astype(np.float64)
    return Answer(name, values, label_array(first.classes), chances)


def _chances(task: BinaryTask | MulticlassTask, found: Mapping[str, Array], prefix: str) -> Array:
    names = [f"{prefix}probability_{label}" for label in task.classes]
    if isinstance(task, BinaryTask):
        return _both(found[names[1]].astype(np.float64))
    return np.stack([found[name].astype(np.float64) for name in names], axis=1)


def own_classes(labels: Array, given: "DataFrame | None", column: str) -> Classes:
    """The classes of a task in the type that the caller's labels have.

    Args:
        labels: Classes of the task.
        given: Holds the caller's labels, which may have classes that no training row has; None
            takes the classes of the task as they are.
        column: Name of the label column.
    """
    if given is None:
        return Classes(labels, tuple(range(len(labels))))
    first = given[column].dropna().drop_duplicates()
    codes, known = read_labels(column, label_values(first))
    written: dict[Any, Any] = {}
    for code, value in zip(codes.tolist(), _cells(first), strict=True):
        if code >= 0:
            written.setdefault(known[code], value)
    ordered = sorted(written.items(), key=lambda pair: (isinstance(pair[1], str), pair[1]))
    places = {label: place for place, (label, _) in enumerate(ordered)}
    own = np.array([value for _, value in ordered], dtype=_dtype(first))
    return Classes(own, tuple(places[label] for label in labels.tolist()))


def in_given_order(chances: Array, classes: Classes) -> Array:
    """Probabilities ``[rows, classes]`` in the caller's order; 0 where training had no row."""
    ordered = np.zeros((len(chances), len(classes.labels)))
    ordered[:, list(classes.places)] = chances
    return ordered


def stacked(columns: Sequence[Array]) -> Array:
    """Columns as one array: numbers as numbers, one kind as that kind, anything else as objects.

    Example:
        >>> stacked([np.array([1.5]), np.array([2])]).tolist(), stacked([np.array([1]), "a"]).dtype
        ([[1.5, 2.0]], dtype('O'))
    """
    arrays = [np.atleast_1d(np.asarray(column)) for column in columns]
    kinds = {array.dtype.kind for array in arrays}
    if kinds <= set("biuf") or len(kinds) == 1:
        return np.stack(arrays, axis=1)
    return np.stack([array.astype(object) for array in arrays], axis=1)


def mean_score(bundle: Bundle, frame: "DataFrame", weights: Array | None) -> float:
    """Mean over the tasks of R² (numbers) or accuracy (classes), gaps left out task by task.

    Args:
        bundle: The model.
        frame: Rows with inputs and labels.
        weights: Row weights ``[rows]``, or None.

    Raises:
        DataError: If no row has a label.
    """
    outputs = bundle.outputs(frame)
    tasks = {task.name: task for task in bundle.tasks}
    scores = []
    for spec, block in bundle.form.all_values(frame):
        found = task_answers(tasks[spec.name], outputs[spec.name])
        columns = block.T if block.ndim == 2 else [block]
        own = [
            _score(answer, values, weights)
            for answer, values in zip(found, columns, strict=True)
            if not _gaps(values).all()
        ]
        if own:
            scores.append(float(np.mean(own)))
    if not scores:
        raise DataError("No row to score has a label.")
    return float(np.mean(scores))


def _score(answer: Answer, values: Array, weights: Array | None) -> float:
    from sklearn.metrics import r2_score

    known = ~_gaps(values)
    own = None if weights is None else weights[known]
    if answer.classes is None:
        truth = values[known].astype(np.float64)
        return float(r2_score(truth, answer.values[known], sample_weight=own))
    codes, labels = read_labels(answer.column, values[known])
    predicted = answer.values[known].tolist()
    right = [labels[code] == guess for code, guess in zip(codes.tolist(), predicted, strict=True)]
    return float(np.average(right, weights=own))


def _gaps(values: Array) -> NDArray[np.bool_]:
    import pandas

    return np.asarray(pandas.isna(values), dtype=bool)


def _both(chance: Array) -> Array:
    """Probability of the second class ``[rows]`` → of both ``[rows, 2]``."""
    return np.stack([1 - chance, chance], axis=1)


def _cells(column: "Series") -> list[Any]:
    return list(np.asarray(column).tolist())


def _dtype(column: "Series") -> Any:
    """The dtype of a class list: the caller's, as far as NumPy has it."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return dtype
    kinds = {type(cell) for cell in _cells(column)}
    return None if kinds <= {int} or kinds <= {bool} or kinds <= {float} else object
