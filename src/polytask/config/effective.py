"""The effective run, written beside the model so that it can be repeated."""

from pathlib import Path
from typing import Any

from .conditions import applicable
from .linear_checks import LINEAR_IGNORES
from .run import RunConfig
from .toml import to_toml

_HEADER = """\
# The complete configuration of this run, defaults included.
# Repeat it: polytask fit TABLE --config THIS_FILE
"""


def run_document(run: RunConfig) -> dict[str, Any]:
    """A run as a document that `run_from_document` reads back to an equal run.

    Options that have no meaning in this run (the momentum of Adam, say) are left out, because
    naming them is an error.
    """
    document: dict[str, Any] = run.model_dump(mode="json")
    if run.defence == "linear":
        for name in LINEAR_IGNORES:
            del document[name]
        document["training"] = {key: document["training"][key] for key in ("device", "threads")}
    for section, keys in applicable(run).items():
        for key, applies in keys.items():
            if not applies:
                document.get(section, {}).pop(key, None)
    return document


def run_to_toml(run: RunConfig) -> str:
    """A run as the text of a run file.

    Example:
        >>> text = run_to_toml(RunConfig(targets=({"name": "sex"},)))
        >>> "[optimizer]" in text, "momentum" in text
        (True, False)
    """
    document = run_document(run)
    targets = document.pop("targets")
    scalars = {key: value for key, value in document.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    return _HEADER + "\n" + to_toml({**scalars, "targets": targets, **tables})


def save_run(path: Path, run: RunConfig) -> None:
    """Writes the run file atomically.

    Raises:
        FileProblem: If the place is not writable.
    """
    from polytask._files import write_text

    write_text(path, run_to_toml(run))
