"""Everything a report says, as frozen dataclasses of plain values; rendering adds nothing."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from polytask.data.finding import Finding
from polytask.errors import CorruptFile

from .advice import Advice
from .calibration import Calibration
from .data_card import DataCard
from .decode import decode
from .gap import Gap
from .interplay import Interplay
from .permutation import PermutationTest
from .regret import Regret
from .residuals import Residuals
from .rows import ColumnRow, TaskRow, Together
from .structure import Structure
from .trunk_gradients import TrunkGradients
from .uncertainty import Uncertainty
from .verdict import Verdict

SCHEMA_VERSION = 2


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
    verdicts: tuple[Verdict, ...] = ()
    """What can be said about the kept weights of each task; none without validation rows."""
    advice: tuple[Advice, ...] = ()
    """What to try next, the most urgent first."""
    permutation: tuple[PermutationTest, ...] = ()
    data_card: DataCard | None = None
    gaps: tuple[Gap, ...] = ()
    """With intervals over rows; `TaskRow.gap` is the plain number."""
    regret: Regret | None = None
    structure: Structure | None = None
    trunk_gradients: TrunkGradients | None = None
    interplay: Interplay | None = None
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
