"""Once the number of epochs is known, one more training on all rows, validation rows included."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from polytask.config.run import RunConfig, TrainingConfig
from polytask.data import Split
from polytask.training import History

from .prepare import Prepared, prepare

if TYPE_CHECKING:
    from pandas import DataFrame

Train = Callable[[Prepared, RunConfig], History]

SPLITS = 5
"""Random splits of a table with few rows."""
MANY = 2000
"""Training and validation rows from which one split is enough."""


def number_of_splits(prepared: Prepared, run: RunConfig) -> int:
    """``training.splits``, where 0 stands for five of a small table and one of any other.

    The best epoch of one small set of validation rows is mostly chance; that of hundreds of rows
    is not, and four more trainings there are dear. Validation rows that are fixed (a file, a
    column, the latest rows) cannot be drawn again: one.
    """
    if run.training.splits:
        return run.training.splits
    split = prepared.split
    drawn = split.method in ("random", "stratified", "group") and len(split.valid) > 0
    return SPLITS if drawn and len(split.train) + len(split.valid) < MANY else 1


def chosen_epochs(
    frame: "DataFrame", run: RunConfig, splits: int, first: int, train: Train
) -> tuple[int, tuple[int, ...]]:
    """The mean best epoch over random splits, at least 1, and all of them.

    The first split is the one that was trained already; each further one has a seed of its own,
    for the rows it sets aside and for the start of its network, and encoders of its own.

    Args:
        frame: The table.
        run: Its settings.
        splits: How many, at least 1 (see `number_of_splits`).
        first: Best epoch of the first split.
        train: Trains on a prepared table.
    """
    best = [first]
    for number in range(1, splits):
        other = run.model_copy(update={"seed": run.seed + number})
        best.append(train(prepare(frame, other), other).best_epoch)
    return max(1, round(float(np.mean(best)))), tuple(best)


def on_all_rows(prepared: Prepared, run: RunConfig, epochs: int) -> tuple[Prepared, RunConfig]:
    """The training and validation rows as training rows alone, and the run that trains on them.

    Args:
        prepared: The table as it was split.
        run: Its settings.
        epochs: How long to train.
    """
    import pandas

    parts = [prepared.frames[part] for part in ("train", "valid") if part in prepared.frames]
    parts += [] if prepared.aside is None else [prepared.aside]
    frame = pandas.concat(parts)
    nothing = np.empty(0, dtype=np.int64)
    split = Split(np.arange(len(frame)), nothing, nothing, "none", "All rows train.")
    own = run.training
    training = TrainingConfig(
        epochs=epochs,
        batch_size=own.batch_size,
        accumulate=own.accumulate,
        stopping="none",
        patience=TrainingConfig().patience,
        keep="compromise",
        refit=False,
        splits=1,
        device=own.device,
        threads=own.threads,
    )
    run = run.model_copy(update={"training": training})
    return prepare(frame, run, split=split), run
