"""The cells of the report's tables, and the captions of its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .words import MISSING, number, percent

MAX_DRAWN = 6
"""Drawings of one kind."""
MAX_ROWS = 300
"""Lines of a table of tasks or parameters."""

Figure = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        text: What is shown.
        value: What the table is sorted by; empty text: last.
        style: Class of the cell: ``number``, ``better``, ``few`` …, or empty.
        detail: A second, smaller line.
    """

    text: str
    value: str
    style: str = ""
    detail: str = ""


def figure(name: str, title: str, words: str, spec: Mapping[str, Any]) -> Figure:
    """A chart with its caption; `name` is its id in the page."""
    return {"id": name, "title": title, "words": words, "spec": spec}


def number_cell(value: float | None) -> Cell:
    """A number, or a dash."""
    return Cell(number(value), "" if value is None else f"{value:.6g}", "number")


def share_cell(value: float | None) -> Cell:
    """A share in per cent, or a dash."""
    if value is None:
        return Cell(MISSING, "", "number")
    return Cell(unsigned(value), f"{value:.6g}", "number")


def counted_cell(count: int | None, total: int | None) -> Cell:
    """So many of so many, or a dash."""
    if count is None or total is None:
        return Cell(MISSING, "", "number")
    return Cell(f"{count:,} of {total:,}", str(count), "number")


def unsigned(share: float) -> str:
    """A share in per cent, without a plus."""
    return percent(share).lstrip("+")
