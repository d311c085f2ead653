"""Facts that must be equal for a run to be resumed: the table and the options."""

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from polytask.config.run import RunConfig

if TYPE_CHECKING:
    from pandas import DataFrame


def table_hash(frames: "Iterable[DataFrame | None]") -> str:
    """A hash of column names, types and all cells, in order."""
    from pandas.util import hash_pandas_object

    digest = hashlib.sha256()
    for frame in frames:
        if frame is None:
            digest.update(b"none")
            continue
        header = [f"{name}:{kind}" for name, kind in frame.dtypes.items()]
        digest.update(json.dumps(header).encode())
        digest.update(hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def run_hash(run: RunConfig) -> str:
    """A hash of every option that changes the result."""
    document = run.model_dump(mode="json")
    for name in ("device", "checkpoint_seconds"):
        document["training"].pop(name)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
