"""The rows of the report's tables: values to sort by and texts to show."""

from collections.abc import Sequence

from polytask.diagnostics import ColumnRow, MetricRow, RunReport, SetRow, TaskRow

from .cells import Cell
from .words import MARKS, MISSING, SETS, number, percent

MAX_METRIC_ROWS = 600
MAX_COLUMNS = 300


def used_baselines(report: RunReport) -> list[str]:
    """The baselines that were measured anywhere, the strictest first."""
    rows = [metric for task in report.tasks for row in task.sets for metric in row.metrics]
    found = {
        "linear": any(metric.linear is not None for metric in rows),
        "single": any(metric.single is not None for metric in rows),
        "mean": any(metric.mean is not None for metric in rows),
    }
    return [key for key, present in found.items() if present]


def result_rows(
    report: RunReport, baselines: Sequence[str], compared: Sequence[str]
) -> list[list[Cell]]:
    """One line per task: the primary metric on the judged rows, and the verdicts."""
    return [_result(task, report.judged_on, baselines, compared) for task in report.tasks]


def all_metrics(report: RunReport) -> tuple[list[list[Cell]], str]:
    """Every metric of every task on every set of rows, as far as the file stays small."""
    baselines = used_baselines(report)
    everything = [
        (task, row, metric) for task in report.tasks for row in task.sets for metric in row.metrics
    ]
    judged = [entry for entry in everything if entry[1].rows == report.judged_on]
    shown, note = everything, ""
    if len(shown) > MAX_METRIC_ROWS:
        shown = judged
        note = f"Only {SETS[report.judged_on]} rows are shown; the JSON report has all."
    if len(shown) > MAX_METRIC_ROWS:
        shown = judged[:MAX_METRIC_ROWS]
        note = f"The first {MAX_METRIC_ROWS:,} lines are shown; the JSON report has all."
    return [
        [
            Cell(task.name, task.name),
            Cell(SETS[row.rows], row.rows),
            _name(metric),
            *_values(metric, baselines),
        ]
        for task, row, metric in shown
    ], note


def column_rows(report: RunReport) -> tuple[list[ColumnRow], str]:
    """Columns of the table, those with another use than input first where not all are shown."""
    if len(report.columns) <= MAX_COLUMNS:
        return list(report.columns), ""
    ordered = sorted(report.columns, key=lambda column: column.use == "input")
    return ordered[:MAX_COLUMNS], (
        f"{MAX_COLUMNS} of {len(report.columns):,} columns are shown; the JSON report has all."
    )


def _result(
    task: TaskRow, rows: str, baselines: Sequence[str], compared: Sequence[str]
) -> list[Cell]:
    row = task.on(rows)
    metric = row.metrics[0] if row is not None and row.metrics else None
    empty = [Cell(MISSING, "", "number")] * (1 + len(baselines))
    return [
        Cell(task.name, task.name, "name", task.kind),
        _labels(task, row),
        Cell(MISSING, "") if metric is None else _name(metric),
        *(_values(metric, baselines) if metric else empty),
        *(_verdict(row, key) for key in compared),
        _count(task.best_epoch),
        Cell(percent(task.gap), _sortable(task.gap), "number"),
    ]


def _values(metric: MetricRow, baselines: Sequence[str]) -> list[Cell]:
    found = {
        "model": metric.model,
        "linear": metric.linear,
        "single": metric.single,
        "mean": metric.mean,
    }
    values = [found[key] for key in ("model", *baselines)]
    known = [value for value in values if value is not None]
    best = (max if metric.higher_is_better else min)(known, default=None)
    return [
        Cell(number(value), _sortable(value), "number best" if value == best else "number")
        if value is not None
        else Cell(MISSING, "", "number")
        for value in values
    ]


def _verdict(row: SetRow | None, baseline: str) -> Cell:
    found = row.comparison(baseline) if row is not None else None
    if row is None or found is None:
        return Cell(MISSING, "")
    if row.too_few:
        return Cell("too few labels", _sortable(found.difference), "few", row.too_few)
    style = found.verdict if found.verdict in ("better", "worse") else "muted"
    sign = MARKS[found.verdict]
    low = percent(found.low).removesuffix("\N{NO-BREAK SPACE}%")
    return Cell(
        f"{sign} {percent(found.difference)}",
        _sortable(found.difference),
        style,
        f"{low} to {percent(found.high)}",
    )


def _labels(task: TaskRow, row: SetRow | None) -> Cell:
    judged = 0 if row is None else row.labels
    words = f"{task.labels_train:,} training"
    return Cell(f"{judged:,}", str(judged), "number", words if judged else "")


def _name(metric: MetricRow) -> Cell:
    arrow = "↑" if metric.higher_is_better else "↓"
    return Cell(f"{metric.name} {arrow}", metric.name, "metric")


def _count(value: int) -> Cell:
    return Cell(f"{value:,}" if value else MISSING, str(value), "number")


def _sortable(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
