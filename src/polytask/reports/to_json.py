"""A report as JSON text, and back."""

import json
from pathlib import Path

from polytask._files.atomic import write_text
from polytask.diagnostics import RunReport
from polytask.errors import CorruptFile, FileProblem


def report_to_text(report: RunReport) -> str:
    """JSON as RFC 8259 wants it: NaN and infinities are null."""
    return json.dumps(report.to_json(), allow_nan=False, ensure_ascii=False, indent=1)


def report_from_text(text: str) -> RunReport:
    """The inverse of `report_to_text`.

    Raises:
        CorruptFile: If the text is no JSON or no report.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise CorruptFile(f"The report is no valid JSON ({error}); fit again.") from error
    if not isinstance(document, dict):
        raise CorruptFile("The JSON text is no report of polytask; fit again.")
    return RunReport.from_json(document)


def write_json(report: RunReport, path: Path) -> None:
    """Writes the report as JSON; an earlier file is replaced in one step or not at all."""
    write_text(path, report_to_text(report))


def read_json(path: Path) -> RunReport:
    """Reads a report that `write_json` wrote.

    Raises:
        FileProblem: If the file cannot be read.
        CorruptFile: If it holds no report.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFile(f"{str(path)!r} is no report of polytask; fit again.") from error
    except OSError as error:
        raise FileProblem(f"Cannot read the report {str(path)!r}: {error.strerror}.") from error
    return report_from_text(text)
