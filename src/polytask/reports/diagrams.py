"""Charts of what was measured beside the losses: penalties, gaps, probabilities, residuals."""

from collections.abc import Mapping, Sequence
from typing import Any

from polytask.diagnostics import (
    Calibration,
    Gap,
    HeadSpectrum,
    PermutationTest,
    ReliabilityBin,
    Residuals,
    Uncertainty,
)

from .charts import INK, MUTED, ROW_HEIGHT, TRAIN, VALID, Spec, finished, tasks_axis
from .choice import thin_epochs
from .words import percent, short

MAX_VALUES = 64
"""Singular values that are drawn."""
FURTHEST = 2.0
"""Gaps are drawn up to here on both sides."""


def penalty(history: Mapping[str, Any], name: str) -> Spec | None:
    """The value of one penalty over the epochs; None if it was not recorded."""
    import altair as alt

    records = {record["epoch"]: record for record in history.get("epochs", ())}
    known = {
        epoch: value
        for epoch, record in records.items()
        if (value := (record.get("penalties") or {}).get(name)) is not None
    }
    if not known:
        return None
    kept = history.get("best_epoch", 0)
    shown = thin_epochs(sorted(known), [kept])
    points = [{"epoch": epoch, "penalty": short(known[epoch])} for epoch in shown]
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d", tickCount=5))
    y = alt.Y("penalty:Q", title=None, axis=alt.Axis(tickCount=4))
    lines = alt.Chart(alt.InlineData(values=points)).encode(x, y)
    layers: list[Any] = []
    if kept:
        at = alt.Chart(alt.InlineData(values=[{"epoch": kept}]))
        layers.append(at.mark_rule(color=INK, strokeWidth=1).encode(x=x))
    tooltip = [alt.Tooltip("epoch:Q"), alt.Tooltip("penalty:Q", format=".4g")]
    layers.append(lines.mark_line(color=MUTED, strokeWidth=1.8))
    layers.append(lines.mark_point(opacity=0, size=30).encode(tooltip=tooltip))
    return finished(alt.layer(*layers), height=110)


def gap_intervals(gaps: Sequence[Gap], names: Sequence[str]) -> Spec | None:
    """Gaps of the chosen tasks with intervals, at the kept epoch and at the end."""
    import altair as alt

    by_name: dict[str, list[Gap]] = {name: [] for name in names}
    for row in gaps:
        if row.name in by_name and row.gap is not None:
            by_name[row.name].append(row)
    points = [_gap_point(row) for rows in by_name.values() for row in rows]
    if not points:
        return None
    ends = [p[key] for p in points for key in ("low", "high", "gap") if p[key] is not None]
    low, high = max(-FURTHEST, min(*ends, 0.0)), min(FURTHEST, max(*ends, 0.0))
    pad = 0.06 * (high - low or 1.0)
    scale = alt.Scale(domain=[low - pad, high + pad], nice=False)
    axis = alt.Axis(format="+.3~%", tickCount=5, grid=True)
    base = alt.Chart(alt.InlineData(values=points)).encode(y=tasks_axis())
    kept, end = (base.transform_filter(f"datum.when == '{when}'") for when in ("kept", "end"))
    x = alt.X("gap:Q", title="gap, share of the validation loss", scale=scale, axis=axis)
    tooltip = [
        alt.Tooltip("task:N", title="task"),
        alt.Tooltip("when:N", title="weights"),
        alt.Tooltip("words:N", title="gap"),
    ]
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=INK).encode(x="zero:Q")
    return finished(
        alt.layer(
            zero,
            base.mark_rule(color=MUTED, strokeWidth=1.5, clip=True).encode(
                x=alt.X("low:Q", scale=scale), x2="high:Q"
            ),
            kept.mark_point(color=VALID, filled=True, size=70, opacity=1, clip=True).encode(
                x=x, tooltip=tooltip
            ),
            end.mark_point(
                color=TRAIN, filled=False, shape="diamond", size=60, opacity=1, strokeWidth=1.8
            ).encode(x=x, tooltip=tooltip),
        ),
        height=ROW_HEIGHT * len([rows for rows in by_name.values() if rows]),
    )


def reliability(found: Calibration) -> Spec:
    """Frequency against confidence; the diagonal is perfect."""
    import altair as alt

    points = _bins(found.bins, "as predicted") + _bins(found.bins_after, "after temperature")
    domain = ["as predicted", "after temperature"]
    axis = alt.Axis(format="~%", grid=True, values=[0, 0.5, 1])
    unit = alt.Scale(domain=[0, 1])
    x = alt.X("confidence:Q", title="predicted", scale=unit, axis=axis)
    y = alt.Y("frequency:Q", title="came true", scale=unit, axis=axis)
    base = alt.Chart(alt.InlineData(values=points)).encode(
        x,
        y,
        alt.Color("when:N", legend=None, scale=alt.Scale(domain=domain, range=[VALID, TRAIN])),
    )
    tooltip = [
        alt.Tooltip("confidence:Q", title="predicted", format=".1%"),
        alt.Tooltip("frequency:Q", title="came true", format=".1%"),
        alt.Tooltip("share:Q", title="share of the labels", format=".1%"),
        alt.Tooltip("when:N", title="probabilities"),
    ]
    return finished(
        alt.layer(
            _diagonal(0.0, 1.0, unit, unit, axis=axis),
            base.mark_line(strokeWidth=1.4, opacity=0.6),
            base.mark_point(filled=True, size=45, opacity=1).encode(tooltip=tooltip),
        ),
        height=190,
    )


def predicted_against_true(found: Residuals) -> Spec:
    """True against predicted values in the target's unit; the diagonal is perfect."""
    import altair as alt

    points = [{"predicted": predicted, "true": true} for predicted, true in found.points]
    ends = [value for point in found.points for value in point]
    low, high = min(ends), max(ends)
    scale = alt.Scale(domain=[low, high], nice=True, zero=False)
    axis = alt.Axis(tickCount=4, grid=True)
    x = alt.X("predicted:Q", title="predicted", scale=scale, axis=axis)
    y = alt.Y("true:Q", title="true", scale=scale, axis=axis)
    dots = alt.Chart(alt.InlineData(values=points)).mark_point(
        filled=True, size=16, opacity=0.5, color=VALID
    )
    tooltip = [
        alt.Tooltip("predicted:Q", format=".4g"),
        alt.Tooltip("true:Q", format=".4g"),
    ]
    return finished(
        alt.layer(
            _diagonal(low, high, scale, scale, axis=axis), dots.encode(x, y, tooltip=tooltip)
        ),
        height=190,
    )


def shuffles(tests: Sequence[PermutationTest], names: Sequence[str]) -> Spec | None:
    """Losses with shuffled labels and with the true ones, in units of the mean shuffled loss."""
    import altair as alt

    chosen = [test for test in tests if test.task in set(names) and test.shuffled]
    points, true = [], []
    for test in chosen:
        unit = sum(test.shuffled) / len(test.shuffled) or 1.0
        drawn = sorted(test.shuffled)[:: -(-len(test.shuffled) // MAX_VALUES)]
        points += [{"task": test.task, "loss": short(loss / unit)} for loss in drawn]
        words = f"p = {test.p_value:.3g}"
        true.append({"task": test.task, "loss": short(test.score / unit), "p": words})
    if not points:
        return None
    title = "validation loss, mean with shuffled labels = 1"
    scale = alt.Scale(zero=False, padding=12)
    x = alt.X("loss:Q", title=title, scale=scale, axis=alt.Axis(grid=True, tickCount=5))
    strips = alt.Chart(alt.InlineData(values=points)).encode(x, tasks_axis())
    dots = alt.Chart(alt.InlineData(values=true)).encode(x, tasks_axis())
    tooltip = [alt.Tooltip("task:N"), alt.Tooltip("p:N", title="test")]
    return finished(
        alt.layer(
            strips.mark_tick(color=MUTED, thickness=1, size=12, opacity=0.7),
            dots.mark_point(color=VALID, filled=True, size=70, opacity=1).encode(tooltip=tooltip),
        ),
        height=ROW_HEIGHT * len(chosen),
    )


def spread(found: Uncertainty) -> Spec:
    """Error against spread in bins; a rising line means that a large spread is a warning."""
    import altair as alt

    points = [{"spread": b.spread, "error": b.error} for b in found.bins]
    x = alt.X("spread:Q", title="spread", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4))
    y = alt.Y("error:Q", title="error", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4))
    base = alt.Chart(alt.InlineData(values=points)).encode(x, y)
    tooltip = [alt.Tooltip("spread:Q", format=".4g"), alt.Tooltip("error:Q", format=".4g")]
    return finished(
        alt.layer(
            base.mark_line(color=VALID, strokeWidth=1.4, opacity=0.6),
            base.mark_point(color=VALID, filled=True, size=45, opacity=1).encode(tooltip=tooltip),
        ),
        height=150,
    )


def spectrum(found: HeadSpectrum) -> Spec:
    """Singular values of the stacked heads, the largest first."""
    import altair as alt

    points = [
        {"place": place, "value": value} for place, value in enumerate(found.values[:MAX_VALUES], 1)
    ]
    axis = alt.Axis(labelAngle=0, labelOverlap=True, ticks=False)
    return finished(
        alt.Chart(alt.InlineData(values=points))
        .mark_bar(color=VALID)
        .encode(
            alt.X("place:O", title="singular value", axis=axis),
            alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=4)),
            tooltip=[alt.Tooltip("place:O"), alt.Tooltip("value:Q", format=".4g")],
        ),
        height=130,
    )


def _gap_point(row: Gap) -> dict[str, Any]:
    words = percent(row.gap)
    if row.low is not None and row.high is not None:
        words += f" ({percent(row.low)} to {percent(row.high)})"
    return {
        "task": row.name,
        "when": row.when,
        "gap": row.gap,
        "low": row.low,
        "high": row.high,
        "words": words,
    }


def _bins(bins: Sequence[ReliabilityBin], when: str) -> list[dict[str, Any]]:
    return [
        {
            "confidence": short(b.confidence),
            "frequency": short(b.frequency),
            "share": short(b.share),
            "when": when,
        }
        for b in bins
    ]


def _diagonal(low: float, high: float, x: Any, y: Any, *, axis: Any) -> Any:
    import altair as alt

    ends = [{"a": low, "b": low}, {"a": high, "b": high}]
    return (
        alt.Chart(alt.InlineData(values=ends))
        .mark_line(color=MUTED, strokeDash=[1, 3], strokeWidth=1.2)
        .encode(alt.X("a:Q", scale=x, axis=axis), alt.Y("b:Q", scale=y, axis=axis))
    )
