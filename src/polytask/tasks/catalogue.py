"""The kinds of targets by name, and fitted tasks to JSON and back."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from polytask._checks import unknown
from polytask.errors import UnknownName

from .base import Task, TaskSpec
from .binary import Binary, BinaryTask
from .count import Count, CountTask
from .multiclass import Multiclass, MulticlassTask
from .multilabel import Multilabel, MultilabelTask
from .regression import Regression, RegressionTask

SPECS: dict[str, type[TaskSpec]] = {
    spec.kind: spec for spec in (Regression, Binary, Multiclass, Multilabel, Count)
}
"""What can stand after the colon of ``--target NAME:KIND``."""

TASKS: tuple[type[Task], ...] = (
    RegressionTask,
    BinaryTask,
    MulticlassTask,
    MultilabelTask,
    CountTask,
)


def task_to_json(task: Task) -> dict[str, Any]:
    """A fitted task as JSON values; `task_from_json` is the inverse.

    Example:
        >>> import numpy as np
        >>> document = task_to_json(Count("visits").fit(np.array([1, 3])))
        >>> document["task"], document["state"]
        ('CountTask', {'mean': 2.0})
    """
    spec = {field.name: getattr(task.spec, field.name) for field in fields(task.spec)}
    return {
        "task": type(task).__name__,
        "spec": type(task.spec).__name__,
        "options": {name: _to_json(value) for name, value in spec.items()},
        "state": task.state(),
    }


def task_from_json(
    document: dict[str, Any], task_types: Sequence[type[Task] | type[TaskSpec]] = ()
) -> Task:
    """The task that `task_to_json` wrote.

    Args:
        document: What `task_to_json` returned.
        task_types: The classes of custom tasks: the `TaskSpec` and the `Task` of each.

    Raises:
        UnknownName: If the document needs a class that is neither built in nor given.
    """
    specs = [cls for cls in task_types if issubclass(cls, TaskSpec)] + list(SPECS.values())
    tasks = [cls for cls in task_types if issubclass(cls, Task)] + list(TASKS)
    options = {name: _from_json(value) for name, value in document["options"].items()}
    spec = _called(document["spec"], specs)(**options)
    return _called(document["task"], tasks).from_state(spec, document["state"])


Class = TypeVar("Class", bound=type[Task] | type[TaskSpec])


def _called(name: str, classes: Sequence[Class]) -> Class:
    """The class of that name; the first one, so that a given class hides a built-in one."""
    for cls in classes:
        if cls.__name__ == name:
            return cls
    problem = unknown("task class", name, [cls.__name__ for cls in classes])
    raise UnknownName(f"{problem} Pass the classes of your own tasks as task_types=(…).")


def _to_json(value: Any) -> Any:
    return [_to_json(item) for item in value] if isinstance(value, tuple | list) else value


def _from_json(value: Any) -> Any:
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value
