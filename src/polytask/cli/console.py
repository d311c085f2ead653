"""The two consoles, and the look of every table."""

import os
import sys
from collections.abc import Sequence

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
    width = None if terminal or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Console(stderr=stderr, highlight=False, width=width)


def table(*columns: str, numbers: Sequence[str] = (), rest: str = "", wrap: bool = False) -> Table:
    """An empty table in the house's look.

    Args:
        columns: Headings.
        numbers: Headings whose cells are aligned to the right.
        rest: Heading of the column that takes the rest of the line.
        wrap: Whether its cells go on in the next line; else they are cut where the line ends.
    """
    made = Table(
        box=SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        expand=bool(rest),
    )
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=column != rest or not wrap,
            overflow="fold" if wrap else "ellipsis",
            ratio=1 if column == rest else None,
        )
    return made


def short(text: str, width: int = 28) -> str:
    r"""A name on one line that leaves room for the other columns.

    Example:
        >>> short("a name that is far too long", 12), short("two\nlines")
        ('a name that…', 'two lines')
    """
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"
