"""The two consoles, and the look of every table."""

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 100
"""Columns of a text that goes to a file or a pipe."""


def output() -> Console:
    """Standard output: results."""
    return _console(sys.stdout.isatty(), stderr=False)


def errors() -> Console:
    """Standard error: progress, notes, mistakes. A sentence is never broken for a file."""
    terminal = sys.stderr.isatty()
    return Console(stderr=True, highlight=False, soft_wrap=not terminal)


def _console(terminal: bool, *, stderr: bool) -> Console:
    import os

    width = None if terminal or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Console(stderr=stderr, highlight=False, width=width)


def table(*columns: str, numbers: tuple[str, ...] = (), title: str = "") -> Table:
    """An empty table in the house's look.

    Args:
        columns: Headings.
        numbers: Headings whose cells are aligned to the right and never broken.
        title: A line above it.
    """
    made = Table(
        box=SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        pad_edge=False,
        padding=(0, 1),
    )
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=column in numbers,
            overflow="fold",
        )
    return made
