"""Paths of all methods over the landscape of the two losses, as small multiples."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert

from polytask.testing.toy import ToyProblem

ORDER = (
    "Sum", "FixedWeights 10:1", "ScheduledWeights", "PerformanceWeights",
    "RandomWeights", "DWA", "UncertaintyWeights", "IMTLL", "UWSO", "GeometricMean", "FAMO",
    "PlainSmoothTchebycheff", "SmoothTchebycheff", "EqualizeNorms(Sum)", "GradNorm", "GradDrop",
    "PCGrad", "GradVac", "UPGrad", "DualProj", "CAGrad", "MGDA", "MoCo", "FairGrad", "NashMTL",
    "IMTLG", "IMTL", "ConFIG", "AlignedMTL", "DBMTL",
)  # fmt: skip
COLUMNS, SIZE, LIMIT = 6, 146, 10.0
INK, FRONT = "#333333", "#1a7f37"
COLOURS = ("#0072b2", "#d55e00", "#cc79a7", "#e69f00", "#5e3c99")
"""One per start; told apart by people with colour blindness."""


def landscape(problem: ToyProblem, cells: int = 110) -> str:
    """L1/s + L2 in bands of grey, as the address of a picture."""
    ticks = np.linspace(-LIMIT, LIMIT, cells + 1)
    middles = 0.5 * (ticks[1:] + ticks[:-1])
    values = np.empty((cells, cells))
    for row, x2 in enumerate(middles):
        for column, x1 in enumerate(middles):
            (one, two), _ = problem.at(x1, x2)
            values[row, column] = one / problem.scale + two
    # Bands hold equally many cells: the valleys are as visible as the bowls.
    edges = np.quantile(values, np.linspace(0, 1, 10)[1:-1])
    records = [
        {"x": ticks[j], "X": ticks[j + 1], "y": ticks[i], "Y": ticks[i + 1],
         "band": int(np.searchsorted(edges, values[i, j]))}
        for i in range(cells) for j in range(cells)
    ]  # fmt: skip
    wide = alt.Scale(domain=[-LIMIT, LIMIT])
    chart = (
        alt.Chart(alt.InlineData(values=records))
        .mark_rect(strokeWidth=0)
        .encode(
            x=alt.X("x:Q", scale=wide, axis=None),
            x2="X:Q",
            y=alt.Y("y:Q", scale=wide, axis=None),
            y2="Y:Q",
            color=alt.Color("band:Q", legend=None, scale=alt.Scale(range=["#b3b8c2", "#fafafb"])),
        )
        .properties(width=cells * 3, height=cells * 3, padding=0)
        .configure_view(stroke=None)
    )
    png = vl_convert.vegalite_to_png(chart.to_json(), scale=1)
    return "data:image/png;base64," + base64.b64encode(png).decode()


def thinned(path: np.ndarray, apart: float = 0.1) -> np.ndarray:
    """The points of a path that are so far from the one before; the last one always."""
    kept = [path[0]]
    for point in path[1:-1]:
        if np.abs(point - kept[-1]).max() >= apart:
            kept.append(point)
    return np.array([*kept, path[-1]])


def panel(name: str, paths: Sequence[np.ndarray], problem: ToyProblem, ground: str) -> Any:
    wide = alt.Scale(domain=[-LIMIT, LIMIT], nice=False)
    x = alt.X("x:Q", scale=wide, axis=None)
    y = alt.Y("y:Q", scale=wide, axis=None)
    lines, ends = [], []
    for start, path in enumerate(paths):
        points = thinned(path)
        lines += [
            {"x": round(a, 2), "y": round(b, 2), "i": i, "start": start}
            for i, (a, b) in enumerate(points.tolist())
        ]
        for what, (a, b) in (("start", points[0]), ("end", points[-1])):
            ends.append({"x": float(a), "y": float(b), "what": what, "start": start})
    front = [{"x": a, "y": -8.355 - 0.0015 * a * a, "i": i} for i, a in enumerate(range(-7, 8))]
    colour = alt.Color(
        "start:N", legend=None, scale=alt.Scale(domain=list(range(5)), range=COLOURS)
    )
    reached = sum(problem.on_front(*path[-1].tolist()) for path in paths)
    image = alt.Chart(alt.InlineData(values=[{"x": 0, "y": 0, "url": ground}]))
    base = alt.Chart(alt.InlineData(values=ends)).encode(x, y)
    return alt.layer(
        image.mark_image(width=SIZE, height=SIZE).encode(x, y, url="url:N"),
        alt.Chart(alt.InlineData(values=front))
        .mark_line(color=FRONT, strokeWidth=5, opacity=0.45, strokeCap="round")
        .encode(x, y, order="i:Q"),
        alt.Chart(alt.InlineData(values=lines))
        .mark_line(strokeWidth=1.5)
        .encode(x, y, colour, order="i:Q"),
        base.transform_filter("datum.what == 'start'")
        .mark_point(size=26, fill="white", strokeWidth=1.3, opacity=1)
        .encode(stroke=colour),
        base.transform_filter("datum.what == 'end'")
        .mark_point(size=40, filled=True, stroke="white", strokeWidth=0.8, opacity=1)
        .encode(fill=colour),
    ).properties(
        width=SIZE,
        height=SIZE,
        title=alt.Title(name, subtitle=f"{reached} of {len(paths)} on the front"),
    )


def draw(found: Mapping[str, Sequence[np.ndarray]], problem: ToyProblem, folder: Path) -> None:
    """Writes the picture as PNG, SVG and a page in HTML."""
    ground = landscape(problem)
    panels = [panel(name, found[name], problem, ground) for name in ORDER if name in found]
    chart = (
        alt.concat(*panels, columns=COLUMNS, spacing={"row": 12, "column": 10})
        .configure(font="Helvetica, Arial, sans-serif", background="white", padding=8)
        .configure_view(stroke="#d0d3d8")
        .configure_title(
            fontSize=11, subtitleFontSize=10, color=INK, subtitleColor="#6b7280",
            anchor="start", offset=4, fontWeight=600, subtitlePadding=1,
        )
    )  # fmt: skip
    text = chart.to_json()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "balancing-toy.png").write_bytes(vl_convert.vegalite_to_png(text, scale=0.85))
    (folder / "balancing-toy.svg").write_text(vl_convert.vegalite_to_svg(text), encoding="utf-8")
    page = vl_convert.vegalite_to_html(text, bundle=True)
    (folder / "balancing-toy.html").write_text(page, encoding="utf-8")
