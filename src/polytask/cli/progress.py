"""Live progress of a fit: a small table in a terminal, a line now and then in a file."""

import sys
import time
from typing import final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from polytask.reports.words import number
from polytask.training import Callback, EpochView, History, StepView

from .console import short, table

SHOWN_TASKS = 8
REFRESH = 0.2
"""Seconds between two drawings; drawing must cost nothing beside training."""


@final
class Progress(Callback):
    """Draws where a run stands.

    In a terminal: epoch, losses of at most eight tasks, the epoch that would be kept, and the
    patience left. Elsewhere: one line after epochs 1, 2, 4, 8, … and at the end.

    Args:
        console: Where to draw, usually standard error.
        label: What is being trained, for runs that consist of several fits.
    """

    def __init__(self, console: Console, label: str = "") -> None:
        self.console = console
        self.label = label
        self.live: Live | None = None
        self.view: EpochView | None = None
        self.at = StepView(0, 0, 0, 1)
        self.started = time.monotonic()
        self.drawn = 0.0
        self.names: list[str] = []
        self.said = 0

    def start(self, history: History, epochs: int) -> None:
        """Opens the live display."""
        self.started = time.monotonic()
        self.names = list(history.tasks)
        self.at = StepView(len(history.epochs) + 1, epochs, 0, 1)
        if self.console.is_terminal:
            self.live = Live(self._draw(), console=self.console, auto_refresh=False, transient=True)
            self.live.start()

    def step(self, view: StepView) -> None:
        """Redraws if the last drawing is old enough."""
        self.at = view
        self._refresh()

    def epoch(self, view: EpochView) -> None:
        """Takes the new losses."""
        self.view = view
        done = view.record.epoch
        if self.live is not None:
            self._refresh()
        elif done & (done - 1) == 0:
            self._line(view)

    def end(self, history: History) -> None:
        """Closes the display; a file gets a last line."""
        self.close()
        if self.view is not None and self.view.record.epoch != self.said:
            self._line(self.view)
        if history.stopped != "interrupted":
            self.console.print("Measuring, and fitting linear models for comparison …", style="dim")
        if history.stopped == "interrupted" and history.best_epoch:
            self.console.print(
                "Interrupted; the best epoch is evaluated and saved. Ctrl-C again leaves at once."
            )

    def close(self) -> None:
        """Gives the terminal back; harmless if it is already."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _refresh(self) -> None:
        now = time.monotonic()
        if self.live is not None and now - self.drawn >= REFRESH:
            self.drawn = now
            self.live.update(self._draw(), refresh=True)

    def _draw(self) -> RenderableType:
        head = Table.grid(padding=(0, 2))
        done = self.at.epoch - 1 + self.at.step / max(self.at.steps, 1)
        words: list[RenderableType] = [
            self._epoch_words(),
            ProgressBar(self.at.epochs, done, width=24),
        ]
        if self.view is not None:
            words += [f"best {self.view.best_epoch}", self._patience(self.view)]
        words.append(Text(_clock(time.monotonic() - self.started), style="dim"))
        head.add_row(*words)
        return Group(head, self._losses()) if self.view is not None else head

    def _epoch_words(self) -> str:
        start = f"{self.label}  " if self.label else ""
        return f"{start}epoch {min(self.at.epoch, self.at.epochs)}/{self.at.epochs}"

    def _patience(self, view: EpochView) -> str:
        if view.patience is None:
            return ""
        return f"patience {max(view.patience - view.stalled, 0)} of {view.patience}"

    def _losses(self) -> RenderableType:
        assert self.view is not None
        record, history = self.view.record, self.view.history
        made = table(
            "task", "training", "validation", "of mean's", "best epoch",
            numbers=("training", "validation", "of mean's", "best epoch"),
        )  # fmt: skip
        for index, name in enumerate(self.names[:SHOWN_TASKS]):
            valid = record.valid[index]
            base = history.baseline[index] if history.baseline else None
            share = f"{valid / base:.0%}" if valid is not None and base else ""
            best = history.best_epochs[index] if history.best_epochs else 0
            made.add_row(
                Text(short(name)),
                number(record.train[index]),
                number(valid),
                share,
                str(best or ""),
            )
        more = len(self.names) - SHOWN_TASKS
        return Group(made, Text(f"… {more} more tasks", style="dim")) if more > 0 else made

    def _line(self, view: EpochView) -> None:
        if self.console.is_terminal:
            return
        self.said = view.record.epoch
        known = [v for v in view.record.valid if v is not None] or [
            v for v in view.record.train if v is not None
        ]
        side = "validation" if any(v is not None for v in view.record.valid) else "training"
        mean = sum(known) / len(known) if known else None
        start = f"{self.label}: " if self.label else ""
        self.console.print(
            f"{start}epoch {view.record.epoch}/{view.epochs}, mean {side} loss {number(mean)}, "
            f"best epoch {view.best_epoch}, {_clock(time.monotonic() - self.started)}"
        )
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
