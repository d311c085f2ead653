"""Verdicts, penalties, gaps, regret and the data card: rows of the tables, and the figures."""

from collections import Counter
from collections.abc import Sequence

from polytask.diagnostics import RunReport

from . import diagrams
from .cells import (
    MAX_DRAWN,
    MAX_ROWS,
    Cell,
    Figure,
    figure,
    number_cell,
)
from .heat import HeatMap, shades
from .words import MISSING, VERDICTS, number, percent

FULL_REGRET = 0.25
"""Regret from which a cell is the darkest."""


def verdict_rows(report: RunReport) -> list[list[Cell]]:
    """One line per task: the verdict, the reason, and one thing to try."""
    return [
        [
            Cell(row.task, row.task, "name"),
            Cell(
                f"{VERDICTS.get(row.word, '')} {row.word}",
                row.word,
                {"ok": "better", "too few rows": "muted"}.get(row.word, "worse"),
                f"also {', '.join(row.also)}" if row.also else "",
            ),
            Cell(row.sentence, "", "words", row.trajectory),
            Cell(row.action or MISSING, row.action, "action"),
        ]
        for row in report.verdicts[:MAX_ROWS]
    ]


def verdict_counts(report: RunReport) -> list[tuple[str, int]]:
    """How many tasks got which verdict, the most frequent first."""
    counts = Counter(row.word for row in report.verdicts)
    return [(f"{VERDICTS.get(word, '')} {word}", count) for word, count in counts.most_common()]


def penalty_figures(report: RunReport) -> list[Figure]:
    """One small chart per penalty, apart from the losses."""
    epochs = report.history.get("epochs", ())
    names = list(dict.fromkeys(name for e in epochs for name in (e.get("penalties") or {})))
    found = []
    for position, name in enumerate(names[:MAX_DRAWN]):
        spec = diagrams.penalty(report.history, name)
        if spec is not None:
            found.append(figure(f"penalty-{position}", name, "value of the penalty", spec))
    return found


def gap_figures(report: RunReport, names: Sequence[str]) -> list[Figure]:
    """The gap of the chosen tasks with intervals."""
    spec = diagrams.gap_intervals(report.gaps, names)
    title, words = "Gap with 90 % intervals", "● kept epoch, ◇ last epoch"
    return [] if spec is None else [figure("gap-intervals", title, words, spec)]


def regret_map(report: RunReport) -> HeatMap | None:
    """The regret of every task in every epoch; the tasks in the user's order after their mean."""
    found = report.regret
    if found is None:
        return None
    epochs = found.epochs
    many = len(found.tasks) > 1
    own = [
        min(range(len(epochs)), key=lambda column: abs(epochs[column] - best)) if best else None
        for best in found.own
    ]
    at_kept = epochs.index(found.kept) if found.kept in epochs else None
    mean = found.mean[at_kept] if at_kept is not None else None
    shown = sorted({0, len(epochs) // 2, len(epochs) - 1})
    return HeatMap(
        rows=("mean of all tasks", *found.tasks) if many else found.tasks,
        details=tuple(percent(v) for v in ((mean, *found.at_kept) if many else found.at_kept)),
        columns=len(epochs),
        shades=shades((found.mean, *found.values) if many else found.values, FULL_REGRET),
        marks=(None, *own) if many else tuple(own),
        line=at_kept,
        ticks=tuple(((c + 0.5) / len(epochs), str(epochs[c])) for c in shown),
    )


def card_rows(report: RunReport) -> list[list[Cell]]:
    """Labels, parameters per label and drift of every task."""
    card = report.data_card
    if card is None:
        return []
    return [
        [
            Cell(task.name, task.name, "name"),
            *(
                Cell(f"{task.labels.get(rows, 0):,}", str(task.labels.get(rows, 0)), "number")
                for rows in card.rows
            ),
            number_cell(task.ratio),
            Cell(MISSING, "", "number")
            if task.drift is None
            else Cell(
                f"{'▲ ' * task.flagged}{number(task.drift, 3)}",
                f"{task.drift:.6g}",
                "number worse" if task.flagged else "number",
                task.measure,
            ),
        ]
        for task in card.tasks[:MAX_ROWS]
    ]
