"""Heat maps as plain SVG: one path per shade, so that 139 rows stay small and need no script."""

from collections.abc import Sequence
from dataclasses import dataclass

LEVELS = 8
"""Shades per colour."""


@dataclass(frozen=True)
class Shade:
    """All cells of one shade.

    Args:
        style: Class that gives the colour: ``cold`` for positive cells, ``warm`` for negative
            ones, ``none`` for missing ones.
        opacity: Between 0 and 1.
        path: The cells as one SVG path, one unit per cell.
    """

    style: str
    opacity: float
    path: str


@dataclass(frozen=True)
class HeatMap:
    """A matrix to be stretched over any width.

    Args:
        rows: Labels of the rows.
        details: A number per row, in words, at its end.
        columns: Number of columns.
        shades: The cells.
        marks: Per row the column of a mark (its own best), or None.
        line: Column of the line through all rows, or None.
        ticks: (share of the width, label) of the column axis.
    """

    rows: tuple[str, ...]
    details: tuple[str, ...]
    columns: int
    shades: tuple[Shade, ...]
    marks: tuple[int | None, ...] = ()
    line: int | None = None
    ticks: tuple[tuple[float, str], ...] = ()


def shades(values: Sequence[Sequence[float | None]], full: float) -> tuple[Shade, ...]:
    """Cells of a matrix by shade; neighbours of one shade are one stroke of the path.

    Args:
        values: The matrix; None has a shade of its own.
        full: Absolute value from which the shade is the darkest, positive.

    Example:
        >>> shades([[0.0, 1.0, 1.0], [None, -0.1, 0.0]], full=1.0)
        (Shade(style='cold', opacity=1.0, path='M1 0h2v1h-2z'), \
Shade(style='none', opacity=1.0, path='M0 1h1v1h-1z'), \
Shade(style='warm', opacity=0.125, path='M1 1h1v1h-1z'))
    """
    paths: dict[tuple[str, int], list[str]] = {}
    for y, row in enumerate(values):
        start = 0
        while start < len(row):
            shade = _shade(row[start], full)
            end = start + 1
            while end < len(row) and _shade(row[end], full) == shade:
                end += 1
            if shade[1]:
                width = end - start
                paths.setdefault(shade, []).append(f"M{start} {y}h{width}v1h-{width}z")
            start = end
    return tuple(
        Shade(style, level / LEVELS, "".join(path))
        for (style, level), path in sorted(paths.items())
    )


def _shade(value: float | None, full: float) -> tuple[str, int]:
    if value is None:
        return "none", LEVELS
    level = min(LEVELS, -(-abs(value) * LEVELS // full))
    return ("warm" if value < 0 else "cold"), int(level)
