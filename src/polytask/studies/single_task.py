"""One network per task, same rows and same settings: what the multi-task model must beat."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from polytask.config.run import RunConfig
from polytask.data import Split
from polytask.diagnostics.run_report import MetricRow, RunReport, SetRow
from polytask.pipeline.fit import fit_table

if TYPE_CHECKING:
    from pandas import DataFrame


def single_task_runs(
    frame: "DataFrame",
    run: RunConfig,
    split: Split,
    *,
    progress: Callable[[str], None] | None = None,
) -> dict[str, RunReport]:
    """Fits one network for each target of a wide table, on the rows of a multi-task run.

    The other targets are neither inputs nor outputs of the network.

    Args:
        frame: The table of the multi-task run.
        run: Its settings.
        split: Its rows.
        progress: Called with each target's name before its fit.

    Returns:
        Task → report.
    """
    reports = {}
    for target in run.targets:
        if progress is not None:
            progress(target.name)
        others = {
            column
            for other in run.targets
            if other.name != target.name
            for column in other.columns or (other.name,)
        }
        data = run.data.model_copy(update={"ignore": (*run.data.ignore, *sorted(others))})
        balance = run.balance.model_copy(update={"name": "equal", "weights": {}, "schedule": {}})
        alone = run.model_copy(update={"targets": (target,), "data": data, "balance": balance})
        reports[target.name] = fit_table(frame, alone, split=split, baselines=False).report
    return reports


def with_single_tasks(report: RunReport, singles: Mapping[str, RunReport]) -> RunReport:
    """The multi-task report with the metrics of the single-task networks beside its own."""
    tasks = []
    for task in report.tasks:
        if task.name not in singles:
            tasks.append(task)
            continue
        (alone,) = singles[task.name].tasks
        parts = {part.rows: part for part in alone.sets}
        tasks.append(replace(task, sets=tuple(_joined(s, parts.get(s.rows)) for s in task.sets)))
    return replace(report, tasks=tuple(tasks))


def _joined(part: SetRow, alone: SetRow | None) -> SetRow:
    if alone is None:
        return part
    values = {metric.name: metric.model for metric in alone.metrics}
    metrics: list[MetricRow] = [replace(m, single=values.get(m.name)) for m in part.metrics]
    return replace(part, metrics=tuple(metrics))
