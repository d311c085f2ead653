"""Everything a report says, as frozen dataclasses of plain values; rendering adds nothing."""

from dataclasses import asdict, dataclass
from typing import Any

from polytask.data.finding import Finding


@dataclass(frozen=True)
class ColumnRow:
    """One column of the table as it was understood."""

    name: str
    kind: str
    use: str
    """``input``, ``target``, ``weight``, ``id``, ``group``, ``time``, ``split``, ``task``,
    ``ignored``."""
    missing: int
    unique: int
    encoding: str
    """How it enters the model, in words."""
    note: str = ""


@dataclass(frozen=True)
class MetricRow:
    """One metric of one task on one set of rows, model and baselines side by side.

    `mean` predicts the training distribution; `linear` is ridge or logistic regression; `single`
    is one network for this task alone (only where it was trained). None: not measured.
    """

    name: str
    higher_is_better: bool
    unit: str
    model: float | None
    mean: float | None
    linear: float | None
    single: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Model against a baseline, paired bootstrap over rows.

    `difference` is (baseline loss − model loss) / mean-predictor loss: positive means the model
    is better. `low` and `high` bound the 90 % interval.
    """

    baseline: str
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``no clear difference``."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no clear difference"


@dataclass(frozen=True)
class SetRow:
    """One task on one set of rows (``train``, ``valid`` or ``test``)."""

    rows: str
    labels: int
    loss: float | None
    metrics: tuple[MetricRow, ...]
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class TaskRow:
    """One task."""

    name: str
    kind: str
    description: str
    """Such as ``regression, squared loss, standardised (mean 152.1, deviation 77.0)``."""
    labels_train: int
    labels_valid: int
    labels_test: int
    best_epoch: int
    """Epoch of its own lowest validation loss."""
    gap: float | None
    """(validation − training loss) / validation loss of the restored weights: a diagnostic."""
    sets: tuple[SetRow, ...]
    note: str = ""


@dataclass(frozen=True)
class RunReport:
    """One run, ready to be rendered as HTML or JSON."""

    schema_version: int
    title: str
    created: str
    headline: tuple[str, ...]
    """Sentences for the top; the first says so when a baseline is better than the model."""
    tasks: tuple[TaskRow, ...]
    columns: tuple[ColumnRow, ...]
    findings: tuple[Finding, ...]
    history: dict[str, Any]
    """`History.to_json()`."""
    split: dict[str, Any]
    """Method, sizes, and what it promises."""
    settings: dict[str, Any]
    """The effective run configuration."""
    switched_on: tuple[tuple[str, str], ...]
    """What was on: (name, strength in words)."""
    environment: dict[str, str]
    """Versions, device, threads, seed, seconds."""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)
