"""The rows of a report: columns, metrics, comparisons, tasks."""

from dataclasses import dataclass


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
