"""One whole fit: the engine behind the command, the estimator and the studies."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from polytask._files import make_folder
from polytask.config.auto import decide
from polytask.config.build import (
    build_backbone,
    build_balance,
    build_optimizer_spec,
    build_plateau,
    build_schedule,
    build_stopping,
)
from polytask.config.effective import save_run
from polytask.config.run import RunConfig
from polytask.data import ResidentBatches, Split
from polytask.diagnostics.run_report import RunReport
from polytask.errors import InvalidArgument, OutOfMemory, TrainingDiverged
from polytask.export import Bundle
from polytask.sharing import HardSharing, MultiTaskModel
from polytask.training import Callback, History, RandomScope, Trainer

from .identity import run_hash, table_hash
from .prepare import Prepared, prepare
from .report import make_report

if TYPE_CHECKING:
    from pandas import DataFrame

MODEL, RUN, CHECKPOINT = "model.safetensors", "run.toml", "checkpoint.safetensors"
SMALL = 2**22
"""Products of a layer below which a second thread costs more than it brings."""

LAST_GOOD = "last-good.safetensors"
"""The best weights of a run that ended in an error; an earlier model is not overwritten."""


@final
@dataclass(frozen=True)
class FitResult:
    """What a fit gives.

    Args:
        bundle: Predicts tables; ``bundle.save(path)`` writes it.
        history: What happened, epoch by epoch.
        report: Metrics, baselines, findings, settings: `polytask.reports` renders it.
        prepared: The table as it was split, understood and encoded.
        run: The effective configuration.
        seconds: Wall-clock time.
    """

    bundle: Bundle
    history: History
    report: RunReport
    prepared: Prepared
    run: RunConfig
    seconds: float


def fit_table(
    frame: "DataFrame",
    run: RunConfig,
    *,
    valid: "DataFrame | None" = None,
    test: "DataFrame | None" = None,
    split: Split | None = None,
    out: Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    baselines: bool = True,
    announce: Callable[[Prepared], None] | None = None,
) -> FitResult:
    """Trains one multi-task model on a table.

    Args:
        frame: pandas DataFrame or Arrow table with inputs and targets.
        run: What the columns are, and how to train.
        valid: Validation rows; None takes a fraction of `frame`.
        test: Rows that nothing is decided on.
        split: Rows of train, valid and test, decided by the caller.
        out: Folder for ``model.safetensors``, ``run.toml`` and ``checkpoint.safetensors``; None
            writes nothing. The model of an earlier run is replaced when this one has ended well,
            and not before.
        resume: Go on from the checkpoint in `out`.
        callbacks: Hooks that watch the training.
        baselines: Whether the report compares with ridge and logistic regression.
        announce: Called once before training with the table as it was understood.

    Raises:
        PolytaskError: One sentence that names the column, target, option or file.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> frame = load_diabetes(as_frame=True).frame
        >>> run = RunConfig.model_validate(
        ...     {
        ...         "targets": [{"name": "target"}, {"name": "sex"}],
        ...         "training": {"epochs": 2},
        ...     }
        ... )
        >>> result = fit_table(frame, run, baselines=False)
        >>> list(result.bundle.predict(frame.head(1)).columns)[:2]
        ['target', 'sex']
    """
    if resume and out is None:
        raise InvalidArgument("`resume` must come with the folder of the run (`out`); got None.")
    if out is not None:
        make_folder(out)
    started = time.monotonic()
    run = decide(run)
    prepared = prepare(frame, run, valid=valid, test=test, split=split)
    if announce is not None:
        announce(prepared)
    device = choose_device(run.training.device)
    trainer, model = _build(prepared, run, callbacks, out, [frame, valid, test])
    batches = {
        part: ResidentBatches(
            table,
            batch_size=run.training.batch_size or default_batch_size(len(table.rows)),
            seed=run.seed,
            device=device,
        )
        for part, table in prepared.tables.items()
    }
    try:
        with cpu_threads(run, batches["train"].batch_size):
            history = trainer.fit(batches["train"], batches.get("valid"), resume=resume)
    except (TrainingDiverged, OutOfMemory) as error:
        if out is None or not trainer.history.best_epoch:
            raise
        _bundle(model, prepared, run).save(out / LAST_GOOD)
        raise type(error)(f"{error} They are in '{out / LAST_GOOD}'.") from error
    if history.stopped == "interrupted" and not history.best_epoch:
        # Untrained weights are no model: an earlier one stays, the checkpoint can go on.
        raise KeyboardInterrupt
    bundle = _bundle(model, prepared, run)
    seconds = time.monotonic() - started
    report = make_report(prepared, run, model, history, seconds=seconds, baselines=baselines)
    if out is not None:
        bundle.save(out / MODEL)
        save_run(out / RUN, run)
    return FitResult(bundle, history, report, prepared, run, seconds)


def _build(
    prepared: Prepared,
    run: RunConfig,
    callbacks: Sequence[Callback],
    out: Path | None,
    tables: "Sequence[DataFrame | None]",
) -> tuple[Trainer, MultiTaskModel]:
    names = [task.name for task in prepared.tasks]
    encoder = prepared.encoder
    with RandomScope(run.seed):
        backbone = build_backbone(
            run.model,
            encoder.numeric_width,
            encoder.cardinalities,
            numeric_rows(prepared),
        )
        model = MultiTaskModel(
            backbone,
            HardSharing(names, backbone.width),
            prepared.groups,
            head_dropout=run.model.head_dropout,
        )
    balance = build_balance(run.balance, names, [task.spec.weight for task in prepared.tasks])
    trainer = Trainer(
        model,
        prepared.tasks,
        optimizer=build_optimizer_spec(run.optimizer),
        balance=balance,
        stopping=build_stopping(run.training),
        seed=run.seed,
        callbacks=callbacks,
        accumulate=run.training.accumulate,
        checkpoint=None if out is None else out / CHECKPOINT,
        epochs=run.training.epochs,
        schedule=build_schedule(run.schedule),
        plateau=build_plateau(run.schedule),
        clip_norm=run.optimizer.clip_norm,
        checkpoint_seconds=run.training.checkpoint_seconds,
        identity={} if out is None else {"table": table_hash(tables), "run": run_hash(run)},
    )
    return trainer, model


def numeric_rows(prepared: Prepared) -> Tensor | None:
    """The encoded numeric inputs of the training rows, if there are any."""
    inputs = prepared.tables["train"].inputs
    return inputs if isinstance(inputs, Tensor) else inputs.get("numeric")


def _bundle(model: MultiTaskModel, prepared: Prepared, run: RunConfig) -> Bundle:
    return Bundle([model], prepared.form, prepared.encoder, run.model_dump(mode="json"))


@contextmanager
def cpu_threads(run: RunConfig, batch_size: int) -> Iterator[None]:
    """Trains with `training.threads` threads and gives torch its own number back."""
    before = torch.get_num_threads()
    small = batch_size * run.model.width**2 < SMALL
    torch.set_num_threads(run.training.threads or (1 if small else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        InvalidArgument: If the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidArgument(
            f"`training.device` {name!r} cannot be used here. Use 'auto', or see `polytask doctor`."
        ) from error
    return device


def default_batch_size(rows: int) -> int:
    """A power of two near a tenth of the rows, from 16 to 256.

    Example:
        >>> [default_batch_size(rows) for rows in (50, 353, 1000, 30_000)]
        [16, 32, 64, 256]
    """
    return max(16, min(256, 1 << max(rows // 10, 1).bit_length() - 1))
