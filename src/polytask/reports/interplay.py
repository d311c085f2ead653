"""How the tasks share the update: the heat map of cosines, the curves, and rows of the tables."""

import math
from collections.abc import Sequence
from typing import Any

from polytask.diagnostics import Interplay, RunReport, ShareCurve, TaskGeometry

from .cells import Cell, Figure, figure, number_cell, share_cell
from .charts import BETTER, INK, MUTED, PAPER, RULE, TRAIN, VALID, WORSE, Spec, finished, tasks_axis
from .choice import thin_epochs
from .heat import HeatMap, shades
from .words import MISSING, short

SMALL = 12
"""Tasks up to which cosines are shown as numbers."""
MAX_CELLS = 40
"""Tasks up to which all pairs are drawn; of more, the most opposed pairs are a table."""
SIGNS = ("same direction", "against each other", "not measured")
HUES = (VALID, TRAIN, BETTER, WORSE, "#8a63a8", "#4a9aa8", "#9a8a2f", "#b0608a", "#6d7f4a", INK)
"""One colour per curve; the page's own first."""


def severe(found: Interplay) -> list[tuple[str, str, str, str]]:
    """The findings: (title, sentence, what to do, what to type)."""
    titles = {
        "domination": "One task dominates",
        "weight": "One task has the weight",
        "overruled": "Overruled",
        "vanishing": "Vanishing",
        "conflict": "Conflict",
        "solver": "Not converged",
    }
    return [(titles[f.kind], f.sentence, f.action, f.command) for f in found.findings]


def cosine_figures(report: RunReport) -> list[Figure]:
    """The heat map of the mean cosines, if they are known and not too many."""
    found = report.interplay
    if found is None or found.geometry is None or found.geometry.norms_only:
        return []
    names = report.history["tasks"]
    if len(names) > MAX_CELLS:
        return []
    words = f"mean over the {found.geometry.updates:,} updates of epoch {found.epoch}"
    spec = _heat(names, found.geometry)
    return [figure("cosine-heat", "Cosines of the tasks' gradients", words, spec)]


def curve_figures(report: RunReport) -> list[Figure]:
    """Normalised weights, and norms on a logarithmic axis, over the epochs."""
    found = report.interplay
    if found is None or not found.curves:
        return []
    kept = report.history.get("best_epoch", 0)
    drawn = []
    for name, title, words, key, log in (
        ("share-weights", "Weights", "parts of the sum of all weights", "weights", False),
        ("share-norms", "Norms of the gradients", "logarithmic axis", "norms", True),
    ):
        spec = _curves(found.epochs, found.curves, key, kept, log=log)
        if spec is not None:
            drawn.append(figure(name, title, words, spec))
    return drawn


def geometry_rows(names: Sequence[str], found: TaskGeometry | None) -> list[list[Cell]]:
    """Norm and part of the update of every task and, for few tasks, its cosine with every other."""
    if found is None:
        return []
    few = len(names) <= SMALL
    return [
        [
            Cell(name, name, "name"),
            number_cell(found.norms[k]),
            share_cell(found.shares[k]),
            *(_cosine(found, k, j) for j in range(len(names)) if few),
        ]
        for k, name in enumerate(names)
    ]


def geometry_heads(names: Sequence[str]) -> list[tuple[str, bool]]:
    """The titles of these columns."""
    few = names if len(names) <= SMALL else ()
    return [
        ("Task", False),
        ("Norm", True),
        ("Part of the update", True),
        *((n, True) for n in few),
    ]


def pair_rows(report: RunReport) -> list[list[Cell]]:
    """The most opposed pairs of tasks, where there are too many for numbers in a matrix."""
    found = report.interplay
    if found is None or found.geometry is None or len(report.history["tasks"]) <= SMALL:
        return []
    return [
        [
            Cell(pair.first, pair.first, "name"),
            Cell(pair.second, pair.second, "name"),
            Cell(_signed(pair.cosine), f"{pair.cosine:.4f}", _style(pair.cosine)),
            share_cell(pair.conflicts),
        ]
        for pair in found.pairs
    ]


def once_map(report: RunReport) -> HeatMap | None:
    """Cosines at the kept weights of many tasks; few are shown as numbers."""
    found = report.trunk_gradients
    if found is None or len(found.tasks) <= SMALL:
        return None
    return HeatMap(
        rows=found.tasks,
        details=(),
        columns=len(found.tasks),
        shades=shades(found.cosines, 1.0),
    )


def once_rows(report: RunReport) -> list[list[Cell]]:
    """The gradients at the kept weights, measured once."""
    once = report.trunk_gradients
    if once is None:
        return []
    known = None if report.interplay is None else report.interplay.kept
    return geometry_rows(once.tasks, known or once.geometry())


def _heat(names: Sequence[str], found: TaskGeometry) -> Spec:
    import altair as alt

    few = len(names) <= SMALL
    points: list[dict[str, Any]] = []
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            value, against = found.cosines[i][j], found.conflicts[i][j]
            point: dict[str, Any] = {"task": first, "with": second}
            if i == j or value is None:
                point |= {"sign": SIGNS[2], "size": 0, "label": ""}
            else:
                point |= {"sign": SIGNS[value < 0], "size": short(abs(value)), "cosine": value}
                point |= {"conflicts": against, "label": _signed(value)}
            points.append(point)
    x = alt.X(
        "with:N",
        sort=None,
        title=None,
        axis=alt.Axis(
            orient="top", labelAngle=-40, labelLimit=110, labelColor=INK, ticks=False, domain=False
        ),
    )
    base = alt.Chart(alt.InlineData(values=points)).encode(y=tasks_axis(grid=False), x=x)
    cells = base.mark_rect(stroke=PAPER, strokeWidth=1 if few else 0).encode(
        color=alt.Color(
            "sign:N", legend=None, scale=alt.Scale(domain=list(SIGNS), range=[VALID, WORSE, RULE])
        ),
        # The square root, so that small cosines can be seen; never so dark that no number is read.
        fillOpacity=alt.FillOpacity(
            "size:Q", legend=None, scale=alt.Scale(type="sqrt", domain=[0, 1], range=[0, 0.75])
        ),
        tooltip=[
            alt.Tooltip("task:N", title="task"),
            alt.Tooltip("with:N", title="with"),
            alt.Tooltip("cosine:Q", title="mean cosine", format="+.3f"),
            alt.Tooltip("conflicts:Q", title="updates in conflict", format=".1%"),
        ],
    )
    layers: list[Any] = [cells]
    if few:
        layers.append(base.mark_text(color=INK, fontSize=11).encode(text="label:N"))
    return finished(alt.layer(*layers), height=(30 if few else 15) * len(names))


def _curves(
    epochs: Sequence[int], curves: Sequence[ShareCurve], key: str, kept: int, *, log: bool
) -> Spec | None:
    import altair as alt

    shown = set(thin_epochs(epochs, [kept]))
    points: list[dict[str, Any]] = [
        {"epoch": epoch, "task": curve.task, "value": short(value)}
        for curve in curves
        for epoch, value in zip(epochs, getattr(curve, key), strict=True)
        if epoch in shown and value is not None and (value > 0 or not log)
    ]
    if not points:
        return None
    names = [curve.task for curve in curves]
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=True)
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d", tickCount=5))
    y = alt.Y(
        "value:Q",
        title=None,
        scale=scale,
        axis=alt.Axis(format="~g", values=_decades([p["value"] for p in points]))
        if log
        else alt.Axis(tickCount=4, format="~%"),
    )
    color = alt.Color(
        "task:N",
        sort=None,
        scale=alt.Scale(domain=names, range=list(HUES[: len(names)])),
        legend=alt.Legend(
            title=None,
            orient="bottom",
            columns=3,
            labelLimit=110,
            labelColor=INK,
            symbolType="stroke",
        ),
    )
    lines = alt.Chart(alt.InlineData(values=points)).encode(x, y, color)
    layers: list[Any] = []
    if kept:
        at = alt.Chart(alt.InlineData(values=[{"epoch": kept}]))
        layers.append(at.mark_rule(color=MUTED, strokeWidth=1).encode(x=x))
    tooltip = [
        alt.Tooltip("task:N"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("value:Q", title="norm" if log else "weight", format=".3~g" if log else ".1%"),
    ]
    layers.append(lines.mark_line(strokeWidth=1.6))
    layers.append(lines.mark_point(opacity=0, size=30).encode(tooltip=tooltip))
    return finished(alt.layer(*layers), height=170)


def _decades(values: Sequence[float]) -> list[float]:
    """Powers of ten within the range, with their halves and fifths where they are few.

    Example:
        >>> _decades([0.5, 30.0]), _decades([0.001, 900.0])
        ([0.5, 1.0, 2.0, 5.0, 10.0, 20.0], [0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
    """
    low, high = min(values), max(values)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(exponents) <= 4 else (1,)
    ticks = [float(f"{step}e{exponent}") for exponent in exponents for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _cosine(found: TaskGeometry, i: int, j: int) -> Cell:
    value = found.cosines[i][j] if found.cosines else None
    if value is None or i == j:
        return Cell("" if i == j else MISSING, "", "number")
    against = found.conflicts[i][j]
    detail = f"{against:.0%}".replace("%", "\N{NO-BREAK SPACE}%") if against is not None else ""
    return Cell(_signed(value), f"{value:.4f}", _style(value), detail if found.updates > 1 else "")


def _style(cosine: float) -> str:
    return "number worse" if cosine < 0 else "number"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
