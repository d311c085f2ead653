"""Checkpoints of a run: everything that decides how it goes on, in one checksummed file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from polytask._files.archive import read_archive, write_archive
from polytask._files.fail_points import fail_point
from polytask._files.state import flatten_state, unflatten_state
from polytask.errors import CorruptFile, DataError

KIND = "checkpoint"
SCHEMA_VERSION = 1

_ADVICE = {
    "table": "Resume with the table the run was started with, or start a new run elsewhere.",
    "run": "Resume with the options the run was started with, or start a new run elsewhere.",
    "torch": "Install that version to go on bit-identically, or start a new run elsewhere.",
    "threads": "Set that number of threads to go on bit-identically, or start a new run elsewhere.",
}


def environment() -> dict[str, str]:
    """What must be equal for a resumed run to end bit-identical."""
    return {"torch": torch.__version__, "threads": str(torch.get_num_threads())}


def save_checkpoint(path: Path, identity: Mapping[str, str], state: dict[str, Any]) -> None:
    """Writes a checkpoint; an earlier one is replaced only when the new one is complete.

    Args:
        path: The file.
        identity: Facts that must be equal on resume (table, run, torch, threads …).
        state: Nested dictionaries and lists of tensors and JSON values.
    """
    fail_point("checkpoint.before-write")
    tensors, document = flatten_state(state)
    write_archive(
        path,
        tensors,
        {"identity": dict(identity), "state": document},
        kind=KIND,
        schema_version=SCHEMA_VERSION,
    )


def load_checkpoint(path: Path, identity: Mapping[str, str]) -> dict[str, Any]:
    """Reads a checkpoint back.

    Raises:
        CorruptFile: If the file is truncated, tampered with or of a newer version.
        DataError: If the run differs from the one that wrote it, naming what differs.
    """
    tensors, document = read_archive(path, kind=KIND, schema_version=SCHEMA_VERSION)
    try:
        written: dict[str, str] = document["identity"]
        state = unflatten_state(tensors, document["state"])
    except (KeyError, TypeError) as error:
        raise CorruptFile(f"The checkpoint '{path}' is incomplete: {error}.") from error
    for key, value in identity.items():
        if written.get(key) != value:
            advice = _ADVICE.get(key, "Start a new run in another folder.")
            raise DataError(
                f"Cannot resume from '{path}': its {key} is {written.get(key)}, "
                f"this run's is {value}. {advice}"
            )
    if not isinstance(state, dict):
        raise CorruptFile(f"The checkpoint '{path}' holds no state.")
    return state
