"""What the terminal shows of a table, its findings and the results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from polytask.reports.words import number, percent

from .console import short, table

if TYPE_CHECKING:
    from polytask.config.run import RunConfig
    from polytask.data import Finding
    from polytask.diagnostics import Comparison, MetricRow, RunReport, TaskRow
    from polytask.pipeline import Prepared
    from polytask.tasks import Task

SHOWN_COLUMNS = 16
SHOWN_FINDINGS = 8
SHOWN_TASKS = 12
_SIGNS = {"danger": "[bold red]!![/]", "warning": "[yellow]![/]", "info": "[dim]·[/]"}
_VERDICTS = {
    "better": ("▲", "green"),
    "worse": ("▼", "red"),
    "no clear difference": ("○", ""),
}
"""Verdict → (sign, style)."""


def show_prepared(console: Console, prepared: "Prepared", name: str) -> None:
    """The table as it was understood: sizes, columns, findings."""
    rows = {part: len(own) for part, own in prepared.frames.items()}
    sizes = ", ".join(f"{count:,} {part}" for part, count in rows.items())
    inputs = len(prepared.encoder.columns)
    console.print(
        f"[bold]{escape(name)}[/]  {sum(rows.values()):,} rows ({sizes}), {inputs} "
        f"input column{'s' * (inputs != 1)}, {len(prepared.tasks)} "
        f"task{'s' * (len(prepared.tasks) != 1)}"
    )
    console.print(f"[dim]Split: {escape(prepared.split.promise)}[/]")
    console.print(_columns(prepared))
    show_findings(console, prepared.findings)


def show_defence(console: Console, prepared: "Prepared", run: "RunConfig") -> None:
    """The preset as the list of what is on in this run."""
    from polytask.config.auto import decide
    from polytask.pipeline.techniques import planned_techniques

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    for name, words in planned_techniques(prepared, decide(run)):
        grid.add_row(f"  {escape(name)}", Text(words, style="dim"))
    console.print(f"Defence against overfitting: [bold]{run.defence}[/]")
    if grid.row_count:
        console.print(grid)
    console.print()


def show_findings(console: Console, findings: "Sequence[Finding]") -> None:
    """Findings, the severe ones first."""
    if not findings:
        return
    order = list(_SIGNS)
    ranked = sorted(findings, key=lambda finding: order.index(finding.severity))
    grid = Table.grid(padding=(0, 1))
    for finding in ranked[:SHOWN_FINDINGS]:
        advice = f" [dim]{escape(finding.advice)}[/]" if finding.advice else ""
        grid.add_row(_SIGNS[finding.severity], f"{escape(finding.sentence)}{advice}")
    if len(ranked) > SHOWN_FINDINGS:
        grid.add_row("", f"[dim]… {len(ranked) - SHOWN_FINDINGS} more in the report[/]")
    console.print(grid)
    console.print()


def show_result(console: Console, report: "RunReport") -> None:
    """The honest first sentence, one line per task, and what the figures stand on."""
    first, *rest = report.headline or ("",)
    lost = "is better than this model" in first
    console.print(Text(first, style="bold yellow" if lost else "bold"))
    console.print()
    console.print(result_table(report))
    # Counts and overall intervals per baseline are in the table already.
    notes = [line for line in rest if not line.startswith(("Against ", "Over all tasks ("))]
    for note in notes:
        console.print(Text(note))
    console.print()


def result_table(report: "RunReport") -> RenderableType:
    """Primary metric per task, model beside its baselines, and the differences in loss."""
    chosen = _notable(report)
    rows = [(task, task.on(report.judged_on)) for task in chosen]
    metrics = [(task, part, part.metrics[0]) for task, part in rows if part and part.metrics]
    rivals = [
        *["linear"] * any(metric.linear is not None for _, _, metric in metrics),
        *["single"] * any(metric.single is not None for _, _, metric in metrics),
    ]
    headings = ["model", *rivals, "mean"]
    verdicts = [f"vs {rival}" for rival in rivals]
    made = table("task", "metric", *headings, *verdicts, numbers=[*headings, *verdicts])
    for task, part, metric in metrics:
        found = {"linear": metric.linear, "single": metric.single}
        values = [metric.model, *[found[rival] for rival in rivals], metric.mean]
        made.add_row(
            Text(short(task.name)),
            _direction(metric),
            *_marked(values, metric.higher_is_better),
            *[_difference(part.comparison(rival), bool(part.too_few)) for rival in rivals],
        )
    overall = {
        row.comparison.baseline: row.comparison
        for row in report.together
        if row.rows == report.judged_on
    }
    if len(report.tasks) > 1 and any(rival in overall for rival in rivals):
        made.add_section()
        made.add_row(
            Text("all tasks"),
            *[""] * (1 + len(headings)),
            *[_difference(overall.get(rival), False) for rival in rivals],
        )
    notes = [f"… {len(report.tasks) - len(chosen)} more tasks in the report."]
    notes = notes * (len(report.tasks) > len(chosen))
    if rivals:
        notes.append(
            "vs: difference in loss, in % of the mean predictor's: ▲ this model is better, "
            "▼ worse, ○ not clear."
        )
    if "single" in rivals:
        notes.append("single: one network for each task alone, same rows and settings.")
    return Group(made, "", *[Text(note, style="dim") for note in notes])


def _difference(comparison: "Comparison | None", too_few: bool) -> Text:
    """A verdict with its size; without a verdict where labels are too few."""
    if comparison is None:
        return Text("–", style="dim")
    if too_few:
        return Text("few labels", style="dim")
    sign, style = _VERDICTS[comparison.verdict]
    return Text(f"{sign} {percent(comparison.difference)}", style=style)


def _notable(report: "RunReport") -> "list[TaskRow]":
    """All tasks if they are few, else those furthest from the linear model, in their order."""
    if len(report.tasks) <= SHOWN_TASKS:
        return list(report.tasks)

    def distance(task: "TaskRow") -> float:
        part = task.on(report.judged_on)
        if part is None or part.too_few or (found := part.comparison("linear")) is None:
            return -1.0
        return abs(found.difference)

    kept = {task.name for task in sorted(report.tasks, key=distance, reverse=True)[:SHOWN_TASKS]}
    return [task for task in report.tasks if task.name in kept]


def _direction(metric: "MetricRow") -> Text:
    return Text(f"{metric.name} {'↑' if metric.higher_is_better else '↓'}", style="dim")


def _marked(values: Sequence[float | None], higher: bool) -> list[Text]:
    """Numbers, the best one in bold."""
    known = [value for value in values if value is not None]
    best = (max if higher else min)(known, default=None)
    return [
        Text(number(value), style="bold" if value is not None and value == best else "")
        for value in values
    ]


def _columns(prepared: "Prepared") -> RenderableType:
    encoded = {column.name for column in prepared.encoder.columns}
    tasks: dict[str, list[Task]] = {}
    for task in prepared.tasks:
        for name in task.spec.source_columns:
            tasks.setdefault(name, []).append(task)
    order = list(tasks)  # targets stand in the user's order
    ranked = sorted(
        prepared.schema.columns,
        key=lambda column: (
            _rank(prepared, column.name),
            order.index(column.name) if column.name in order else 0,
        ),
    )
    made = table("column", "kind", "use", "missing", "how", numbers=["missing"], rest="how")
    for column in ranked[:SHOWN_COLUMNS]:
        use = prepared.uses.uses[column.name]
        how = ""
        if use == "input" and column.name in encoded:
            how = prepared.encoder.describe(column.name)
        elif use == "input":
            use, how = "ignored", column.reason
        elif use == "target" and column.name in tasks:
            same = tasks[column.name]
            how = same[0].describe() if len(same) == 1 else f"{len(same)} tasks"
        made.add_row(
            Text(short(column.name)),
            str(column.kind),
            Text(use, style="bold" if use == "target" else "dim" if use == "ignored" else ""),
            f"{column.missing:,}" if column.missing else "",
            Text(how, style="dim"),
        )
    rest = len(prepared.schema.columns) - SHOWN_COLUMNS
    more = [Text(f"… {rest} more columns in the report.", style="dim")] if rest > 0 else []
    return Group(made, *more, "")


def _rank(prepared: "Prepared", name: str) -> int:
    """Targets first, then roles, then what is left out, then the inputs."""
    use = prepared.uses.uses[name]
    if use == "input":
        known = any(column.name == name for column in prepared.encoder.columns)
        return 3 if known else 2
    return 0 if use == "target" else 1
