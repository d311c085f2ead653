"""What happened in a run, epoch by epoch; plain numbers, JSON in and out."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from polytask.diagnostics.geometry import WINDOW, TaskGeometry

ALL_PAIRS = 12
"""Tasks up to which the cosines of all pairs are kept of every epoch."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. Lists run over the tasks in the user's order; None means "not measured".

    Args:
        epoch: 1 for the first.
        steps: Updates done since the start of the run.
        running: Mean training loss per task during the epoch, dropout on.
        train: Training loss per task in eval mode on a fixed subset of the training rows.
        valid: Validation loss per task in eval mode.
        weights: Mean effective task weight in the objective.
        learning_rate: At the end of the epoch.
        skipped: Updates skipped because of a non-finite gradient.
        seconds: Wall-clock time; excluded from bit-identity.
        refined: Validation losses after the best temperature of each classification task, where
            the epoch is chosen by them; else empty.
        penalties: Value of every penalty at the end of the epoch, apart from the losses.
        geometry: How the gradients of the tasks lay to each other, where the balancing measures
            them.
    """

    epoch: int
    steps: int
    running: list[float | None]
    train: list[float | None]
    valid: list[float | None]
    weights: list[float | None]
    learning_rate: float
    skipped: int = 0
    seconds: float = 0.0
    penalties: dict[str, float] = field(default_factory=dict)
    refined: list[float | None] = field(default_factory=list)
    geometry: TaskGeometry | None = None

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`; records of earlier versions lack what is new."""
        geometry = document.get("geometry")
        found = None if geometry is None else TaskGeometry.from_json(geometry)
        return cls(**{**document, "geometry": found})

    @property
    def decisive(self) -> list[float | None]:
        """The validation losses by which epochs are compared."""
        return self.refined or self.valid


@dataclass
class History:
    """The whole run.

    Args:
        tasks: Names, in the user's order.
        epochs: One record per finished epoch.
        best_epoch: Epoch whose weights were restored, 0 before the first epoch.
        best_epochs: Per task, the epoch of its lowest validation loss (ties: the last).
        baseline: Validation loss per task of predicting the training distribution.
        stopped: Why the run ended: ``"epochs"``, ``"patience"``, ``"interrupted"``,
            ``"diverged"``, ``"out of memory"``, ``"solved"`` (a linear model); empty while it runs.
        settled: Task → epoch after which it no longer learnt from its labels, for the rules that
            freeze or distil single tasks.
    """

    tasks: list[str]
    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    best_epochs: list[int] = field(default_factory=list)
    baseline: list[float | None] = field(default_factory=list)
    stopped: str = ""
    settled: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN never occurs."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        rest = {key: value for key, value in document.items() if key != "epochs"}
        return cls(epochs=[EpochRecord.from_json(record) for record in document["epochs"]], **rest)

    def forget_pairs(self) -> None:
        """Drops the matrices over pairs of tasks where nobody will look for them.

        A pair has two numbers per epoch, so that 139 tasks would write 10 million numbers in 256
        epochs. Of more than `ALL_PAIRS` tasks only the last epochs up to the best one and up to now
        keep theirs, `WINDOW` of each: what a report looks at, whichever epoch is the best in the
        end. To be called when an epoch has been entered and `best_epoch` is known.
        """
        if len(self.tasks) <= ALL_PAIRS:
            return
        for position, record in enumerate(self.epochs[:-WINDOW]):
            found = record.geometry
            wanted = self.best_epoch - WINDOW < record.epoch <= self.best_epoch
            if found is not None and found.cosines and not wanted:
                self.epochs[position] = replace(record, geometry=found.without_pairs())
