"""The charts as Vega-Lite specifications, made with Altair; colours are the page's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.diagnostics import Comparison, RunReport, SetRow

from .choice import thin_epochs
from .words import percent, short

Spec = dict[str, Any]

INK, MUTED, RULE, PAPER = "var(--ink)", "var(--muted)", "var(--rule)", "var(--paper)"
TRAIN, VALID = "var(--train)", "var(--valid)"
BETTER, WORSE = "var(--better)", "var(--worse)"
# Colours are CSS variables, so that one drawing serves light, dark and print.
CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "titleFontSize": 11,
        "labelFontSize": 11,
        "gridColor": RULE,
        "domainColor": RULE,
        "tickColor": RULE,
        "tickSize": 4,
        "labelPadding": 4,
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False, "ticks": False, "tickCount": 4},
}
ROW_HEIGHT = 26
FURTHEST = 1.5
"""Intervals are drawn up to here on both sides; beyond, only the table tells."""


def curve(report: RunReport, index: int) -> Spec | None:
    """Training and validation loss of one task over the epochs; None if nothing was measured."""
    import altair as alt

    history = report.history
    best = history["best_epochs"][index] if history.get("best_epochs") else 0
    marks = [epoch for epoch in (history.get("best_epoch", 0), best) if epoch]
    records = {record["epoch"]: record for record in history.get("epochs", ())}
    points = [
        {"epoch": epoch, "loss": short(value), "rows": words}
        for epoch in thin_epochs(sorted(records), marks)
        for key, words in (("train", "training"), ("valid", "validation"))
        if (value := records[epoch][key][index]) is not None
    ]
    if not points:
        return None
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d", tickCount=5))
    y = alt.Y("loss:Q", title=None, scale=alt.Scale(zero=False))
    rows = alt.Color(
        "rows:N",
        legend=None,
        scale=alt.Scale(domain=["training", "validation"], range=[TRAIN, VALID]),
    )
    dash = alt.StrokeDash(
        "rows:N",
        legend=None,
        scale=alt.Scale(domain=["training", "validation"], range=[[5, 3], [1, 0]]),
    )
    lines = alt.Chart(alt.InlineData(values=points)).encode(x, y, rows)
    layers: list[Any] = []
    baseline = (history.get("baseline") or [None] * (index + 1))[index]
    if baseline is not None:
        average = alt.Chart(alt.InlineData(values=[{"loss": baseline}]))
        layers.append(average.mark_rule(color=MUTED, strokeDash=[1, 3]).encode(y=y))
    if best:
        own = alt.Chart(alt.InlineData(values=[{"epoch": best}]))
        layers.append(own.mark_rule(color=VALID, strokeDash=[2, 2], opacity=0.7).encode(x=x))
    if history.get("best_epoch"):
        kept = alt.Chart(alt.InlineData(values=[{"epoch": history["best_epoch"]}]))
        layers.append(kept.mark_rule(color=INK, strokeWidth=1).encode(x=x))
    if history.get("stopped"):
        ended = alt.Chart(alt.InlineData(values=[{"epoch": max(records)}]))
        layers.append(ended.mark_rule(color=MUTED, strokeWidth=1).encode(x=x))
    layers.append(lines.mark_line(strokeWidth=1.8, interpolate="linear").encode(dash))
    tooltip = [
        alt.Tooltip("rows:N", title="rows"),
        alt.Tooltip("epoch:Q", title="epoch"),
        alt.Tooltip("loss:Q", title="loss", format=".4g"),
    ]
    layers.append(lines.mark_point(opacity=0, size=30).encode(tooltip=tooltip))
    return finished(alt.layer(*layers), height=140)


def comparison(report: RunReport, chosen: Sequence[int], baseline: str) -> Spec | None:
    """Advantage over one baseline with intervals, one line per task; None if not compared."""
    import altair as alt

    points = []
    for index in chosen:
        row = report.tasks[index].on(report.judged_on)
        found = row.comparison(baseline) if row is not None else None
        if row is not None and found is not None:
            verdict = row.verdict(baseline) or "too few labels"
            points.append(_interval(report.tasks[index].name, found, verdict))
    everything = "all tasks together"
    points += [
        _interval(everything, whole.comparison, whole.comparison.verdict)
        for whole in report.together
        if (whole.rows, whole.comparison.baseline) == (report.judged_on, baseline)
        and len(report.tasks) > 1
    ]
    if not points:
        return None
    low = max(-FURTHEST, min(point["low"] for point in points))
    high = min(FURTHEST, max(point["high"] for point in points))
    pad = 0.06 * (max(high, 0.0) - min(low, 0.0) or 1.0)
    domain = [min(low, 0.0) - pad, max(high, 0.0) + pad]
    x = alt.X(
        "difference:Q",
        title="← worse   ·   better →",
        scale=alt.Scale(domain=domain, nice=False),
        axis=alt.Axis(format="+.3~%", tickCount=5, grid=True),
    )
    verdicts = ["better", "worse", "no clear difference", "too few labels"]
    colors = alt.Color(
        "verdict:N",
        legend=None,
        scale=alt.Scale(domain=verdicts, range=[BETTER, WORSE, MUTED, MUTED]),
    )
    shapes = alt.Shape(
        "verdict:N",
        legend=None,
        scale=alt.Scale(
            domain=verdicts, range=["triangle-right", "triangle-left", "circle", "cross"]
        ),
    )
    base = alt.Chart(alt.InlineData(values=points)).encode(y=tasks_axis())
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=INK).encode(x="zero:Q")
    tooltip = [
        alt.Tooltip("task:N", title="task"),
        alt.Tooltip("verdict:N", title="verdict"),
        alt.Tooltip("words:N", title="difference"),
    ]
    lines = base.mark_rule(strokeWidth=1.6, clip=True).encode(
        x=alt.X("low:Q", scale=alt.Scale(domain=domain, nice=False)), x2="high:Q", color=colors
    )
    dots = base.mark_point(filled=True, size=70, opacity=1, clip=True).encode(
        x=x, color=colors, shape=shapes, tooltip=tooltip
    )
    return finished(alt.layer(zero, lines, dots), height=ROW_HEIGHT * len(points))


def gap(report: RunReport, chosen: Sequence[int]) -> Spec | None:
    """Training and validation loss of the kept weights, in units of the mean predictor's."""
    import altair as alt

    points: list[dict[str, Any]] = []
    for index in chosen:
        task = report.tasks[index]
        train, valid = _relative(task.on("train")), _relative(task.on("valid"))
        if train is not None and valid is not None:
            points.append(
                {"task": task.name, "train": train, "valid": valid, "gap": percent(task.gap)}
            )
    if not points:
        return None
    base = alt.Chart(alt.InlineData(values=points)).encode(y=tasks_axis())
    x = alt.X(
        "train:Q",
        title="loss of the kept weights, mean predictor = 1",
        axis=alt.Axis(grid=True, tickCount=6),
        scale=alt.Scale(zero=False, padding=12),
    )
    tooltip = [
        alt.Tooltip("task:N", title="task"),
        alt.Tooltip("train:Q", title="training", format=".3f"),
        alt.Tooltip("valid:Q", title="validation", format=".3f"),
        alt.Tooltip("gap:N", title="gap"),
    ]
    one = alt.Chart(alt.InlineData(values=[{"one": 1}])).mark_rule(color=MUTED, strokeDash=[1, 3])
    hollow = base.mark_point(color=TRAIN, filled=False, size=60, opacity=1, strokeWidth=1.8)
    full = base.mark_point(color=VALID, filled=True, size=70, opacity=1)
    return finished(
        alt.layer(
            one.encode(x="one:Q"),
            base.mark_rule(color=MUTED, strokeWidth=1.4).encode(x=x, x2="valid:Q"),
            hollow.encode(x=x, tooltip=tooltip),
            full.encode(x="valid:Q", tooltip=tooltip),
        ),
        height=ROW_HEIGHT * len(points),
    )


def _interval(task: str, found: Comparison, verdict: str) -> dict[str, Any]:
    words = f"{percent(found.difference)} ({percent(found.low)} to {percent(found.high)})"
    return {
        "task": task,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "verdict": verdict,
        "words": words,
    }


def _relative(row: SetRow | None) -> float | None:
    loss = next((metric for metric in row.metrics if metric.name == "loss"), None) if row else None
    if loss is None or loss.model is None or not loss.mean:
        return None
    return loss.model / loss.mean


def tasks_axis(grid: bool = True) -> Any:
    """One line per task, in the order of the data."""
    import altair as alt

    axis = alt.Axis(labelLimit=130, labelColor=INK, grid=grid, ticks=False, domain=False)
    # In the order of the data: names of the user never become part of an expression.
    return alt.Y("task:N", sort=None, title=None, axis=axis)


def finished(chart: Any, *, height: int) -> Spec:
    """The specification of a chart as wide as its place in the page."""
    document: Mapping[str, Any] = chart.properties(width="container", height=height).to_dict()
    kept = {key: value for key, value in document.items() if key not in ("config", "$schema")}
    return {**kept, "autosize": {"type": "fit-x", "contains": "padding"}}
