"""Hooks of a run: one typed view of the state, read only."""

from dataclasses import dataclass

from .history import EpochRecord, History


@dataclass(frozen=True)
class StepView:
    """Where a run stands after an update.

    Args:
        epoch: Current epoch, 1 for the first.
        epochs: Upper limit of epochs.
        step: Updates done in this epoch.
        steps: Updates per epoch.
    """

    epoch: int
    epochs: int
    step: int
    steps: int


@dataclass(frozen=True)
class EpochView:
    """Where a run stands after an epoch.

    Args:
        record: The epoch that just ended.
        history: The run so far; not to be changed.
        best_epoch: Epoch whose weights would be restored now.
        stalled: Epochs since then.
        patience: Epochs allowed without improvement, None without a limit.
        epochs: Upper limit of epochs.
    """

    record: EpochRecord
    history: History
    best_epoch: int
    stalled: int
    patience: int | None
    epochs: int


class Callback:
    """Base class of hooks; override what you need. A hook must not change the run."""

    def start(self, history: History, epochs: int) -> None:
        """Before the first update; `history` holds earlier epochs when resuming."""

    def step(self, view: StepView) -> None:
        """After every update: keep it cheap."""

    def epoch(self, view: EpochView) -> None:
        """After every epoch, with its validation losses."""

    def end(self, history: History) -> None:
        """After the best weights were restored."""
