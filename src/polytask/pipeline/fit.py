"""One whole fit: the engine behind the command, the estimator and the studies."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from polytask._files import folder_for
from polytask.config.auto import decide
from polytask.config.effective import save_run
from polytask.config.run import RunConfig
from polytask.data import Split
from polytask.data.batches import transform
from polytask.diagnostics.permutation import PermutationTest, permutation_test
from polytask.diagnostics.run_report import RunReport
from polytask.errors import InvalidArgument, OutOfMemory, TrainingDiverged
from polytask.export import Bundle
from polytask.regularization.outputs.temperature import Temperature
from polytask.sharing import MultiTaskModel
from polytask.training import Callback, History

from .calibrate import calibrate, divide
from .identity import run_hash, table_hash
from .linear_fit import LinearFit, fit_linear_table
from .per_task import PerTask
from .prepare import Prepared, prepare
from .refit import chosen_epochs, number_of_splits, on_all_rows
from .report import make_report
from .scatter import MASKS, scatter
from .techniques import columns_read, learned_words
from .training import Trained, Training, check_methods

if TYPE_CHECKING:
    from pandas import DataFrame

MODEL, RUN, CHECKPOINT = "model.safetensors", "run.toml", "checkpoint.safetensors"
PERMUTED_ROWS, PERMUTED_TASKS = 5000, 20
"""Training rows and tasks above which a report does without the permutation test."""

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
        model: What the report is about: the network with its kept weights. The bundle may hold
            another one that was trained once more, on all rows.
    """

    bundle: Bundle
    history: History
    report: RunReport
    prepared: Prepared
    run: RunConfig
    seconds: float
    model: MultiTaskModel


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
    started = time.monotonic()
    run = decide(run)
    check_methods(run)
    prepared = prepare(frame, run, valid=valid, test=test, split=split)
    with folder_for(out):
        if announce is not None:
            announce(prepared)
        if run.defence == "linear":
            if resume:
                raise InvalidArgument(
                    "`resume` needs a network in training; a linear fit starts anew."
                )
            fitted, history = fit_linear_table(prepared, run)
            trained = Trained(
                fitted.model, history, notes=(("linear model", _linear_words(fitted)),)
            )
        else:
            trained = _network(prepared, run, callbacks, out, resume, [frame, valid, test])
    members, temperatures = _members(trained, prepared, run)
    served = {name: index for index, (names, _) in enumerate(members) for name in names}
    models = [model for _, model in members]
    serves = served if len(models) > 1 else {}
    bundle = _bundle(models, prepared, run, serves)
    notes = list(trained.notes)
    for names, model in members:
        own = names if len(members) > 1 else ()
        notes += [*learned_words(model, run, own), *columns_read(model, prepared.encoder, own)]
    if run.training.refit:
        first = trained.history.best_epoch
        splits = number_of_splits(prepared, run)
        epochs, best = chosen_epochs(
            frame, run, splits, first, lambda p, r: Training(p, r).go().history
        )
        everything, again = on_all_rows(prepared, run, epochs)
        last = Training(everything, again).go()
        divide(last.model, {name: found.value for name, found in temperatures.items()})
        bundle = _bundle([last.model], everything, run, {})
        notes.append(("refit", _refit_words(epochs, best)))
        found = [*learned_words(last.model, again), *columns_read(last.model, everything.encoder)]
        notes += [(f"{title}, after the refit", words) for title, words in found]
    seconds = time.monotonic() - started
    report = make_report(
        prepared,
        run,
        trained.model,
        trained.history,
        seconds=seconds,
        baselines=baselines,
        predictor=PerTask(models, serves) if serves else None,
        optimizer=trained.optimizer,
        techniques=[*trained.defence.describe(), *notes],
        penalties=() if trained.penalties is None else trained.penalties.describe(),
        zeros=None if trained.penalties is None else trained.penalties.zeros(),
        temperatures={name: found.value for name, found in temperatures.items()},
        kept_epochs=trained.history.best_epochs if serves else None,
        spreads=scatter(models, serves, prepared, run),
        spread_source=f"{MASKS} dropout masks",
        permutation=_permuted(prepared, run) if baselines else (),
    )
    if out is not None:
        bundle.save(out / MODEL)
        save_run(out / RUN, run)
    return FitResult(bundle, trained.history, report, prepared, run, seconds, trained.model)


def _network(
    prepared: Prepared,
    run: RunConfig,
    callbacks: Sequence[Callback],
    out: Path | None,
    resume: bool,
    tables: "Sequence[DataFrame | None]",
) -> Trained:
    """Trains the network; after an error the best weights are saved beside an earlier model."""
    identity = {} if out is None else {"table": table_hash(tables), "run": run_hash(run)}
    training = Training(
        prepared,
        run,
        callbacks=callbacks,
        checkpoint=None if out is None else out / CHECKPOINT,
        identity=identity,
        resume=resume,
    )
    try:
        trained = training.go()
    except (TrainingDiverged, OutOfMemory) as error:
        if out is None or not training.trainer.history.best_epoch:
            raise
        _bundle([training.model], prepared, run, {}).save(out / LAST_GOOD)
        raise type(error)(f"{error} They are in '{out / LAST_GOOD}'.") from error
    if trained.history.stopped == "interrupted" and not trained.history.best_epoch:
        # Untrained weights are no model: an earlier one stays, the checkpoint can go on.
        raise KeyboardInterrupt
    return trained


def _members(
    trained: Trained, prepared: Prepared, run: RunConfig
) -> tuple[list[tuple[list[str], MultiTaskModel]], dict[str, Temperature]]:
    """The models that predict, each with its tasks, calibrated if that was asked for."""
    names = [task.name for task in prepared.tasks]
    members = [(names, trained.model)]
    if trained.task_weights:
        members = []
        by_weights: dict[int, list[str]] = {}
        for name in names:
            by_weights.setdefault(id(trained.task_weights.get(name)), []).append(name)
        for tasks in by_weights.values():
            model = copy.deepcopy(trained.model)
            weights = trained.task_weights.get(tasks[0])
            if weights is not None:
                model.load_state_dict(weights)
            members.append((tasks, model))
    temperatures: dict[str, Temperature] = {}
    if run.training.calibrate:
        device = next(trained.model.parameters()).device
        valid = transform(prepared.tables["valid"], lambda tensor: tensor.to(device))
        for tasks, model in members:
            temperatures |= calibrate(model, valid, tasks)
    return members, temperatures


def _bundle(
    models: Sequence[MultiTaskModel], prepared: Prepared, run: RunConfig, serves: dict[str, int]
) -> Bundle:
    return Bundle(models, prepared.form, prepared.encoder, run.model_dump(mode="json"), serves)


def _permuted(prepared: Prepared, run: RunConfig) -> tuple[PermutationTest, ...]:
    """Whether labels have anything to do with inputs, by a linear model; small tables only."""
    tables = prepared.tables
    judged = next((tables[part] for part in ("test", "valid") if part in tables), None)
    train = tables["train"]
    if judged is None or len(train.rows) > PERMUTED_ROWS or len(prepared.tasks) > PERMUTED_TASKS:
        return ()
    return permutation_test(train, judged, prepared.groups, model="a linear model", seed=run.seed)


def _linear_words(fitted: LinearFit) -> str:
    strengths = sorted(set(fitted.strengths))
    words = f"strength {strengths[0]:.3g}"
    if len(strengths) > 1:
        words = f"strengths {strengths[0]:.3g} to {strengths[-1]:.3g}"
    forms = ", ".join(candidate.name for candidate in fitted.candidates)
    return f"{fitted.chosen}, {words}; chosen by cross-validation among {forms}"


def _refit_words(epochs: int, best: Sequence[int]) -> str:
    several = f", the mean of {', '.join(map(str, best))}" if len(best) > 1 else ""
    return (
        f"the model that is saved was trained once more on all rows, for {epochs} epochs"
        f"{several}; the figures of this report are those of the model before, which has not seen "
        "the validation rows"
    )
