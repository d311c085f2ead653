"""One training of a prepared table: model, trainer, and what is left of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor
from torch.optim import Optimizer

from polytask.balancing import LossBalancer
from polytask.config.balance import build_balance
from polytask.config.build import (
    build_backbone,
    build_defence,
    build_optimizer_spec,
    build_penalties,
    build_plateau,
    build_schedule,
    build_stopping,
)
from polytask.config.run import RunConfig
from polytask.data import Batch, LongForm, ResidentBatches
from polytask.errors import InvalidArgument, Unsupported
from polytask.gradients import MultiTaskBackward
from polytask.regularization.objective import BoundPenalties, InputGradient
from polytask.regularization.outputs import TeacherOutputs
from polytask.sharing import HardSharing, MultiTaskModel
from polytask.tasks import group_tasks
from polytask.training import Callback, Defence, History, RandomScope, Trainer

from .prepare import Prepared

SMALL = 2**22
"""Products of a layer below which a second thread costs more than it brings."""


@final
@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Args:
        model: With the kept weights, in eval mode.
        history: What happened.
        optimizer: The one that trained; None for a linear model.
        penalties: On the weights, bound to the model.
        defence: The other techniques.
        task_weights: Task → the weights of its own best epoch, where they were kept.
        notes: (technique, words) for the report.
    """

    model: MultiTaskModel
    history: History
    optimizer: Optimizer | None = None
    penalties: BoundPenalties | None = None
    defence: Defence = field(default_factory=Defence)
    task_weights: Mapping[str, dict[str, Tensor]] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()


def check_methods(run: RunConfig) -> None:
    """Builds the methods of a run once, so that a refused option costs no folder and no training.

    Args:
        run: Decided settings.

    Raises:
        PolytaskError: As while the run is built; what belongs to names of tasks is not looked at.
    """
    build_penalties(run.penalties)
    if run.defence == "linear":
        return
    names: dict[str, object] = {"weights": {}, "schedule": {}, "preference": {}}
    balance = build_balance(run.balance.model_copy(update=names), ["a", "b"], seed=run.seed)
    if not isinstance(balance, LossBalancer):
        MultiTaskBackward(balance, at=run.balance.at, heads=run.balance.heads)


@final
class Training:
    """The objects of one training, made before it begins, so that an error leaves them behind.

    Args:
        prepared: The table.
        run: Decided settings.
        callbacks: Hooks.
        checkpoint: File, or None.
        identity: What must be equal on resume.
        resume: Go on from the checkpoint.
    """

    def __init__(
        self,
        prepared: Prepared,
        run: RunConfig,
        *,
        callbacks: Sequence[Callback] = (),
        checkpoint: Path | None = None,
        identity: Mapping[str, str] | None = None,
        resume: bool = False,
    ) -> None:
        self.run = run
        self.resume = resume
        self.device = choose_device(run.training.device)
        self.batches = _batches(prepared.tables, run, self.device)
        aside = {} if prepared.balancing is None else {"balancing": prepared.balancing}
        self.balancing = _batches(aside, run, self.device).get("balancing")
        self.model = build_model(prepared, run)
        if run.inputs.adversarial and not prepared.encoder.numeric_width:
            raise InvalidArgument(
                "`inputs.adversarial` needs numbers, which it moves; every input column is a code "
                "here. Set it to 0, or use inputs.feature_dropout."
            )
        self.defence = build_defence(run, prepared.groups, prepared.encoder.blocks)
        if self.defence.distillation is not None:
            teacher = single_task_outputs(prepared, run, empty=resume)
            self.defence = replace(self.defence, teacher=teacher)
        penalties = build_penalties(run.penalties)
        for penalty in penalties:
            if isinstance(penalty, InputGradient):
                self.defence = replace(self.defence, input_gradient=penalty)
        penalties = [penalty for penalty in penalties if not isinstance(penalty, InputGradient)]
        names = [task.name for task in prepared.tasks]
        weights = [task.spec.weight for task in prepared.tasks]
        self.trainer = Trainer(
            self.model,
            prepared.tasks,
            optimizer=build_optimizer_spec(run.optimizer, gated=run.model.gates > 0),
            balance=build_balance(
                run.balance, names, weights, kinds=_kinds(prepared), seed=run.seed
            ),
            at=run.balance.at,
            heads=run.balance.heads,
            max_gradient_memory=run.balance.gradient_memory * 2**20,
            stopping=build_stopping(run.training),
            seed=run.seed,
            callbacks=callbacks,
            accumulate=run.training.accumulate,
            checkpoint=checkpoint,
            epochs=run.training.epochs,
            schedule=build_schedule(run.schedule),
            plateau=build_plateau(run.schedule),
            clip_norm=run.optimizer.clip_norm,
            checkpoint_seconds=run.training.checkpoint_seconds,
            penalties=penalties,
            defence=self.defence,
            keep=run.training.keep,
            refine=run.training.calibrate,
            identity=identity,
        )

    def go(self) -> Trained:
        """Trains.

        Raises:
            TrainingDiverged: The best weights are then in `model`.
            OutOfMemory: The best weights are then in `model`.
        """
        trainer, batches = self.trainer, self.batches
        with cpu_threads(self.run, batches["train"].batch_size):
            history = trainer.fit(
                batches["train"],
                batches.get("valid"),
                balancing=self.balancing,
                resume=self.resume,
            )
        return Trained(
            self.model,
            history,
            trainer.optimizer,
            trainer.penalties,
            self.defence,
            trainer.task_weights,
        )


def _kinds(prepared: Prepared) -> dict[str, str]:
    return {task.name: task.spec.kind for task in prepared.tasks}


def build_model(prepared: Prepared, run: RunConfig) -> MultiTaskModel:
    """An untrained network for the table, from the run's own seed."""
    names = [task.name for task in prepared.tasks]
    inputs = prepared.tables["train"].inputs
    numeric = inputs if isinstance(inputs, Tensor) else inputs.get("numeric")
    encoder = prepared.encoder
    with RandomScope(run.seed):
        backbone = build_backbone(
            run.model,
            encoder.numeric_width,
            encoder.cardinalities,
            numeric,
            len(prepared.tables["train"].rows),
            encoder.blocks,
        )
        return MultiTaskModel(
            backbone,
            HardSharing(names, backbone.width),
            prepared.groups,
            head_dropout=run.model.head_dropout,
            dropout_samples=run.model.dropout_samples,
        )


def single_task_outputs(
    prepared: Prepared, run: RunConfig, *, empty: bool = False
) -> TeacherOutputs:
    """Raw outputs for the training rows of one network per task: the teachers of distillation.

    The teachers have the settings of the run, without its distillation and balancing. What task
    SAM is for several tasks is SAM for one.

    Args:
        prepared: The table.
        run: Decided settings.
        empty: Make room only; a resumed run has them in its checkpoint.

    Raises:
        Unsupported: For a long table, whose tasks are rows of one column.
    """
    if isinstance(prepared.form, LongForm):
        raise Unsupported(
            '`distillation.teacher` = "single-task" needs a wide table; the tasks of a long table '
            "are rows of one column. Use penalties across tasks, such as mean-regularised."
        )
    device = choose_device(run.training.device)
    rows = len(prepared.tables["train"].rows)
    outputs = TeacherOutputs.empty(prepared.groups, rows, device)
    if empty:
        return outputs
    places = {t.name: (g, i) for g in prepared.groups for i, t in enumerate(g.tasks)}
    sharp = run.update.sam or run.update.task_sam
    alone = run.model_copy(
        update={
            "distillation": type(run.distillation)(),
            "balance": type(run.balance)(name="equal"),
            "penalties": (),
            "update": run.update.model_copy(update={"sam": sharp, "task_sam": 0.0}),
        }
    )
    for task in prepared.tasks:
        group, place = places[task.name]
        tables = {
            part: table._replace(
                targets={task.name: table.targets[group.name][:, place : place + 1]},
                masks={task.name: table.masks[group.name][:, place : place + 1]},
            )
            for part, table in prepared.tables.items()
        }
        own = replace(
            prepared, tables=tables, tasks=(task,), groups=group_tasks([task]), balancing=None
        )
        model = Training(own, alone).go().model
        with torch.no_grad():
            for batch in _batches(tables, alone, device)["train"].epoch():
                found = model(batch.inputs).outputs[task.name]
                wide = found.new_zeros(len(found), len(group.tasks), group.outputs)
                wide[:, place] = found[:, 0]
                outputs.fill({group.name: wide}, batch.rows, [task.name])
    return outputs


def _batches(
    tables: Mapping[str, Batch], run: RunConfig, device: torch.device
) -> dict[str, ResidentBatches]:
    return {
        part: ResidentBatches(
            table,
            batch_size=run.training.batch_size or default_batch_size(len(table.rows)),
            seed=run.seed,
            device=device,
        )
        for part, table in tables.items()
    }


@contextmanager
def cpu_threads(run: RunConfig, batch_size: int) -> Iterator[None]:
    """Trains with `training.threads` threads and gives torch its own number back."""
    before = torch.get_num_threads()
    members = run.model.members if run.model.backbone == "tabm" else 1
    small = batch_size * members * run.model.width**2 < SMALL
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
