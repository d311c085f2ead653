"""Computes what reports show; reads, never writes."""

from .baselines import LinearBaseline, linear_baseline
from .bootstrap import Differences, Intervals, paired_bootstrap
from .build import build_report
from .evaluate import TaskEvaluation, evaluate, evaluate_task, gaps, hard
from .judge import Judgement, judge, too_few
from .predictions import Outputs, TaskOutputs, collect, constant_outputs
from .run_report import (
    SCHEMA_VERSION,
    ColumnRow,
    Comparison,
    MetricRow,
    RunReport,
    SetRow,
    TaskRow,
    Together,
)

__all__ = [
    "SCHEMA_VERSION",
    "ColumnRow",
    "Comparison",
    "Differences",
    "Intervals",
    "Judgement",
    "LinearBaseline",
    "MetricRow",
    "Outputs",
    "RunReport",
    "SetRow",
    "TaskEvaluation",
    "TaskOutputs",
    "TaskRow",
    "Together",
    "build_report",
    "collect",
    "constant_outputs",
    "evaluate",
    "evaluate_task",
    "gaps",
    "hard",
    "judge",
    "linear_baseline",
    "paired_bootstrap",
    "too_few",
]
