"""One file per kind of target: encoding, loss, link, metrics, baseline."""

from .base import Task, TaskLosses, TaskSpec, full_precision, masked_sums
from .binary import Binary, BinaryTask
from .catalogue import SPECS, task_from_json, task_to_json
from .count import Count, CountTask
from .groups import TaskGroup, group_tasks
from .infer import build_spec, infer_kind, parse_target
from .multiclass import Multiclass, MulticlassTask
from .multilabel import Multilabel, MultilabelTask
from .regression import Regression, RegressionTask

__all__ = [
    "SPECS",
    "Binary",
    "BinaryTask",
    "Count",
    "CountTask",
    "Multiclass",
    "MulticlassTask",
    "Multilabel",
    "MultilabelTask",
    "Regression",
    "RegressionTask",
    "Task",
    "TaskGroup",
    "TaskLosses",
    "TaskSpec",
    "build_spec",
    "full_precision",
    "group_tasks",
    "infer_kind",
    "masked_sums",
    "parse_target",
    "task_from_json",
    "task_to_json",
]
