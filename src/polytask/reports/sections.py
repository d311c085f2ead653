"""What the later sections of a report show: rows of their tables, and their figures."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from polytask.diagnostics import Calibration, RunReport, Uncertainty

from . import charts, diagrams
from .heat import HeatMap, shades
from .tables import Cell
from .words import MISSING, VERDICTS, number, percent

Figure = dict[str, Any]
MAX_DRAWN = 6
"""Drawings of one kind."""
MAX_ROWS = 300
FULL_REGRET = 0.25
"""Regret from which a cell is the darkest."""
SMALL = 12
"""Tasks up to which cosines are shown as numbers."""


def figure(name: str, title: str, words: str, spec: charts.Spec) -> Figure:
    """A chart with its caption; `name` is its id in the page."""
    return {"id": name, "title": title, "words": words, "spec": spec}


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


def cosine_rows(report: RunReport) -> list[list[Cell]]:
    """Norm of every task's gradient and, for few tasks, its cosine with every other one."""
    found = report.trunk_gradients
    if found is None:
        return []
    few = len(found.tasks) <= SMALL
    return [
        [
            Cell(name, name, "name"),
            Cell(number(norm), f"{norm:.6g}", "number"),
            *(_cosine(value, i == j) for j, value in enumerate(cosines) if few),
        ]
        for i, (name, norm, cosines) in enumerate(
            zip(found.tasks, found.norms, found.cosines, strict=True)
        )
    ]


def cosine_map(report: RunReport) -> HeatMap | None:
    """Cosines of many tasks; few are shown as numbers."""
    found = report.trunk_gradients
    if found is None or len(found.tasks) <= SMALL:
        return None
    return HeatMap(
        rows=found.tasks,
        details=(),
        columns=len(found.tasks),
        shades=shades(found.cosines, 1.0),
    )


def layer_rows(report: RunReport) -> list[list[Cell]]:
    """One line per parameter."""
    if report.structure is None:
        return []
    return [
        [
            Cell(row.name, row.name, "name", ", ".join(row.penalties)),
            Cell(row.kind, row.kind),
            _plain(" × ".join(str(size) for size in row.shape)),
            _number(row.norm),
            _number(row.rms),
            _number(row.decay_per_step),
            _number(row.half_life),
            _zeros(row.zeros, _size(row.shape)),
            _zeros(row.zero_rows, row.rows),
            _zeros(row.zero_columns, row.columns),
        ]
        for row in report.structure.layers[:MAX_ROWS]
    ]


def penalty_rows(report: RunReport) -> list[list[Cell]]:
    """The penalties, with the exact zeros that those with a proximal step made."""
    rows = () if report.structure is None else report.structure.penalties
    return [
        [
            Cell(row.name, row.name, "name", row.words),
            Cell(f"{row.parameters:,}", str(row.parameters), "number"),
            _counted(row.entries, row.of_entries),
            _counted(row.groups, row.of_groups),
        ]
        for row in rows[:MAX_ROWS]
    ]


def spectrum_figures(report: RunReport) -> list[Figure]:
    """Singular values of the heads, one chart per width of representation."""
    heads = () if report.structure is None else report.structure.heads
    return [
        figure(
            f"spectrum-{position}",
            f"Heads of {len(found.names)} {'task' if len(found.names) == 1 else 'tasks'}",
            f"{found.shape[0]} × {found.shape[1]}, rank {found.rank}, effective rank "
            f"{found.effective:.1f}",
            diagrams.spectrum(found),
        )
        for position, found in enumerate(heads[:MAX_DRAWN])
    ]


def feature_rows(report: RunReport) -> list[list[Cell]]:
    """Inputs by the size of their weights, the ones that were left out last."""
    features = () if report.structure is None else report.structure.features
    ordered = sorted(features, key=lambda feature: -feature.norm)
    return [
        [
            Cell(feature.name, feature.name, "name"),
            Cell(number(feature.norm), f"{feature.norm:.6g}", "number")
            if feature.norm
            else Cell("left out", "0", "muted"),
        ]
        for feature in ordered[:MAX_ROWS]
    ]


def calibration_figures(report: RunReport, names: Sequence[str]) -> list[Figure]:
    """Reliability diagrams of the chosen tasks."""
    chosen = [found for found in report.calibration if found.name in set(names)]
    return [
        figure(f"reliability-{position}", found.name, _about(found), diagrams.reliability(found))
        for position, found in enumerate(chosen[:MAX_DRAWN])
    ]


def calibration_rows(report: RunReport) -> list[list[Cell]]:
    """The calibration error of every classification task."""
    return [
        [
            Cell(found.name, found.name, "name"),
            Cell(f"{found.labels:,}", str(found.labels), "number"),
            _share(found.ece),
            Cell(f"{_percent(found.low)} to {_percent(found.high)}", f"{found.low:.6g}", "number"),
            _share(found.by_chance),
            _number(found.temperature),
            _share(found.ece_after),
        ]
        for found in report.calibration[:MAX_ROWS]
    ]


def residual_figures(report: RunReport, names: Sequence[str]) -> list[Figure]:
    """Predicted against true values of the chosen tasks."""
    chosen = [found for found in report.residuals if found.name in set(names)]
    return [
        figure(
            f"residuals-{position}",
            found.name,
            f"mean residual {number(found.mean)}",
            diagrams.predicted_against_true(found),
        )
        for position, found in enumerate(chosen[:MAX_DRAWN])
    ]


def residual_rows(report: RunReport) -> list[list[Cell]]:
    """Quantiles of the residuals of every numeric task."""
    return [
        [
            Cell(found.name, found.name, "name"),
            Cell(f"{found.labels:,}", str(found.labels), "number"),
            _number(found.mean),
            *(_number(value) for _, value in found.quantiles),
        ]
        for found in report.residuals[:MAX_ROWS]
    ]


def permutation_figures(report: RunReport, names: Sequence[str]) -> list[Figure]:
    """Losses with shuffled and with true labels of the chosen tasks."""
    spec = diagrams.shuffles(report.permutation, names)
    words = "│ shuffled labels, ● true labels"
    return [] if spec is None else [figure("permutation-chart", "Shuffled labels", words, spec)]


def permutation_rows(report: RunReport) -> list[list[Cell]]:
    """The p value of every task, and how much of shuffled labels the model memorises."""
    return [
        [
            Cell(test.task, test.task, "name", test.model),
            _number(test.score),
            Cell(f"{test.refits:,}", str(test.refits), "number"),
            Cell(number(test.p_value, 3), f"{test.p_value:.6g}", "number"),
            _share(test.memorised),
        ]
        for test in report.permutation[:MAX_ROWS]
    ]


def spread_figures(report: RunReport, names: Sequence[str]) -> list[Figure]:
    """Spread against error of the chosen tasks."""
    chosen = [found for found in report.uncertainty if found.name in set(names)]
    return [
        figure(f"spread-{position}", found.name, _orders(found), diagrams.spread(found))
        for position, found in enumerate(chosen[:MAX_DRAWN])
    ]


def spread_rows(report: RunReport) -> list[list[Cell]]:
    """Whether the spread of every numeric task orders its errors."""
    return [
        [
            Cell(found.name, found.name, "name"),
            Cell(f"{found.labels:,}", str(found.labels), "number"),
            _number(found.correlation),
            Cell(f"{number(found.low)} to {number(found.high)}", "", "number"),
            _share(found.beyond),
        ]
        for found in report.uncertainty[:MAX_ROWS]
    ]


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
            _number(task.ratio),
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


def _about(found: Calibration) -> str:
    return (
        f"{found.about}; error {_percent(found.ece)}, by chance alone {_percent(found.by_chance)}"
    )


def _orders(found: Uncertainty) -> str:
    start = f"{found.source}; " if found.source else ""
    if found.correlation is None:
        return f"{start}the spread is constant"
    return f"{start}rank correlation {found.correlation:+.2f}".replace("-", "−")


def _percent(share: float) -> str:
    return percent(share).lstrip("+")


def _cosine(value: float | None, diagonal: bool) -> Cell:
    if value is None or diagonal:
        return Cell("" if diagonal else MISSING, "", "number")
    style = "number worse" if value < 0 else "number"
    return Cell(f"{value:+.2f}".replace("-", "−"), f"{value:.4f}", style)


def _plain(text: str) -> Cell:
    return Cell(text or "1", text, "number")


def _number(value: float | None) -> Cell:
    return Cell(number(value), "" if value is None else f"{value:.6g}", "number")


def _share(value: float | None) -> Cell:
    if value is None:
        return Cell(MISSING, "", "number")
    return Cell(_percent(value), f"{value:.6g}", "number")


def _zeros(count: int, total: int) -> Cell:
    if not total or not count:
        return Cell(MISSING, "0", "number muted")
    return Cell(f"{count:,} of {total:,}", str(count), "number")


def _counted(count: int | None, total: int | None) -> Cell:
    if count is None or total is None:
        return Cell(MISSING, "", "number")
    return Cell(f"{count:,} of {total:,}", str(count), "number")


def _size(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
