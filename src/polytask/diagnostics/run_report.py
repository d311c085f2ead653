"""Everything a report says, as frozen dataclasses of plain values; rendering adds nothing."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from polytask.data.finding import Finding
from polytask.errors import CorruptFile

from .calibration import Calibration
from .data_card import DataCard
from .decode import decode
from .gap import Gap
from .regret import Regret
from .residuals import Residuals
from .structure import Structure
from .trunk_gradients import TrunkGradients
from .uncertainty import Uncertainty

SCHEMA_VERSION = 2


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
    """One task on one set of rows (``train``, ``valid`` or ``test``).

    The metrics end with ``loss``, which the comparisons are about.
    """

    rows: str
    labels: int
    loss: float | None
    metrics: tuple[MetricRow, ...]
    comparisons: tuple[Comparison, ...] = ()
    too_few: str = ""
    """Why these labels are too few for a verdict, in words; empty: they are enough."""

    def comparison(self, baseline: str) -> Comparison | None:
        """The comparison with one baseline, or None."""
        return next((c for c in self.comparisons if c.baseline == baseline), None)

    def verdict(self, baseline: str) -> str:
        """The verdict against one baseline; empty without a comparison or with too few labels."""
        comparison = self.comparison(baseline)
        return "" if comparison is None or self.too_few else comparison.verdict


@dataclass(frozen=True)
class Together:
    """All tasks together against one baseline on one set of rows."""

    rows: str
    weighting: str
    """``tasks``: every task counts the same; ``labels``: every label does (tasks of one column)."""
    comparison: Comparison


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
    linear: str = ""
    """Which linear model it is compared with, or why there is none."""

    def on(self, rows: str) -> SetRow | None:
        """The figures on one set of rows, or None."""
        return next((row for row in self.sets if row.rows == rows), None)


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

    judged_on: str = "valid"
    """The set of rows that the headline is about: ``test`` if there is one."""
    together: tuple[Together, ...] = ()
    data_card: DataCard | None = None
    gaps: tuple[Gap, ...] = ()
    """With intervals over rows; `TaskRow.gap` is the plain number."""
    regret: Regret | None = None
    structure: Structure | None = None
    trunk_gradients: TrunkGradients | None = None
    calibration: tuple[Calibration, ...] = ()
    residuals: tuple[Residuals, ...] = ()
    uncertainty: tuple[Uncertainty, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN and infinities become None."""
        document = _plain(asdict(self))
        assert isinstance(document, dict)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; reports of earlier versions lack what is new since.

        Raises:
            CorruptFile: If the document is no report, or a newer polytask wrote it.
        """
        version = document.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise CorruptFile(
                f"This is no report that polytask can read (schema version {version!r}, "
                f"understood up to {SCHEMA_VERSION}); update polytask, or fit again."
            )
        try:
            report = decode(cls, document)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFile(
                f"This report is incomplete or was edited ({error}); fit again."
            ) from error
        assert isinstance(report, cls)
        return report


def _plain(value: object) -> object:
    """Values that JSON knows: tuples as lists, numbers that are not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
