"""Predictions on the judged rows: rows of the tables, and the figures."""

from collections.abc import Sequence

from polytask.diagnostics import Calibration, RunReport, Uncertainty

from . import diagrams
from .cells import MAX_DRAWN, MAX_ROWS, Cell, Figure, figure, number_cell, share_cell, unsigned
from .words import number


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
            share_cell(found.ece),
            Cell(f"{unsigned(found.low)} to {unsigned(found.high)}", f"{found.low:.6g}", "number"),
            share_cell(found.by_chance),
            number_cell(found.temperature),
            share_cell(found.ece_after),
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
            number_cell(found.mean),
            *(number_cell(value) for _, value in found.quantiles),
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
            number_cell(test.score),
            Cell(f"{test.refits:,}", str(test.refits), "number"),
            Cell(number(test.p_value, 3), f"{test.p_value:.6g}", "number"),
            share_cell(test.memorised),
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
            number_cell(found.correlation),
            Cell(f"{number(found.low)} to {number(found.high)}", "", "number"),
            share_cell(found.beyond),
        ]
        for found in report.uncertainty[:MAX_ROWS]
    ]


def _about(found: Calibration) -> str:
    return (
        f"{found.about}; error {unsigned(found.ece)}, by chance alone {unsigned(found.by_chance)}"
    )


def _orders(found: Uncertainty) -> str:
    start = f"{found.source}; " if found.source else ""
    if found.correlation is None:
        return f"{start}the spread is constant"
    return f"{start}rank correlation {found.correlation:+.2f}".replace("-", "−")
