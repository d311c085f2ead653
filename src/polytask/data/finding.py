"""The form of a finding: one thing worth knowing about a table, in words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about a table before training.

    Args:
        code: Stable short name, such as ``"duplicate-rows"`` or ``"leak-linear"``.
        severity: ``"info"``, ``"warning"`` or ``"danger"``.
        columns: Columns it is about; may be empty.
        sentence: What was found, with numbers.
        advice: What to do, with the option to type; may be empty.
    """

    code: str
    severity: str
    columns: tuple[str, ...]
    sentence: str
    advice: str = ""
