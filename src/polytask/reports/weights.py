"""Inside the kept weights: rows of the tables, and the figures."""

from collections.abc import Sequence

from polytask.diagnostics import RunReport

from . import diagrams
from .cells import MAX_DRAWN, MAX_ROWS, Cell, Figure, counted_cell, figure, number_cell
from .words import MISSING, number


def layer_rows(report: RunReport) -> list[list[Cell]]:
    """One line per parameter."""
    if report.structure is None:
        return []
    return [
        [
            Cell(row.name, row.name, "name", ", ".join(row.penalties)),
            Cell(row.kind, row.kind),
            _plain(" × ".join(str(size) for size in row.shape)),
            number_cell(row.norm),
            number_cell(row.rms),
            number_cell(row.decay_per_step),
            number_cell(row.half_life),
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
            counted_cell(row.entries, row.of_entries),
            counted_cell(row.groups, row.of_groups),
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


def _plain(text: str) -> Cell:
    return Cell(text or "1", text, "number")


def _zeros(count: int, total: int) -> Cell:
    if not total or not count:
        return Cell(MISSING, "0", "number muted")
    return Cell(f"{count:,} of {total:,}", str(count), "number")


def _size(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
