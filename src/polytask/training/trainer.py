"""The trainer: epochs of updates, validation, stopping, checkpoints; the best weights come back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, final

from torch import nn
from torch.optim import Optimizer

from polytask._checks import at_least, one_of, positive, require
from polytask._files import make_folder
from polytask.balancing import EqualWeights, LossBalancer
from polytask.data.batch import Batch, Batches
from polytask.errors import InvalidArgument, Unsupported
from polytask.gradients import Balance
from polytask.optim import (
    Kind,
    OptimizerSpec,
    ParameterInfo,
    Plateau,
    Role,
    Schedule,
    check_binding,
    constant,
)
from polytask.regularization.objective import BoundPenalties, InputGradient, Penalty
from polytask.regularization.update import ASAM
from polytask.sharing import AdaptedModel, MultiTaskModel, adapt, infer_roles
from polytask.tasks import Task, TaskGroup, group_tasks

from .arguments import check_arguments, check_balancing, check_batches
from .callbacks import Callback
from .combinations import check_combination, check_penalties, check_without_validation
from .defence import Defence
from .history import History
from .interrupt import Interrupt
from .keeping import State
from .loop import Loop
from .plan import Plan
from .raw_targets import warn_of_raw_targets
from .seeding import RandomScope
from .stopping import NoStopping, Regret, Stopping


@final
class Trainer:
    """Trains one model on many tasks and leaves the weights of the best epoch in it.

    Args:
        model: A `MultiTaskModel`, or any module that returns features ``[rows, width]`` or a
            dictionary of outputs by task name.
        tasks: Fitted tasks (``spec.fit(values)``); heads, losses and curves follow their order.
        optimizer: An `OptimizerSpec` (built here, from the model), or your own optimizer: it must
            hold every trainable parameter of model and balancer exactly once.
        balance: How the tasks share the update: a method that weighs losses (`polytask.balancing`)
            or one that combines the gradients of the tasks (`polytask.aggregation`).
        at: Where such a method sees the gradients of the tasks: at the shared ``"parameters"``, or
            at the shared ``"representation"``, which costs little more than a plain update.
        heads: Weight of what only one task reaches, under such a method: ``"one"``, or
            ``"weighted"`` as in the update (refused where weights may be negative).
        max_gradient_memory: Bytes for task gradients; see `MultiTaskBackward`.
        stopping: When to stop and which epoch to keep; needs validation rows in `fit`.
        seed: Start of the trainer's own random stream (dropout); the global one is given back.
        callbacks: Hooks that watch the run.
        accumulate: Micro-batches per update, with label counts over all of them.
        checkpoint: File for checkpoints, or None; its folder is made.
        epochs: Upper limit.
        schedule: Factor on the learning rate as a function of the fraction of the run.
        plateau: Factor that falls when the stopping score stalls, or None.
        clip_norm: Largest global gradient norm; 0 for no clipping.
        checkpoint_seconds: Least time between checkpoints, 0 for one after every update.
        penalties: Terms λR(w) on the parameters, and at most one `InputGradient`.
        defence: The other techniques against overfitting: on inputs, update, weights and outputs.
        keep: ``"compromise"`` keeps the weights of the one best epoch; ``"per-task"`` also those
            of every task's own best epoch, in `task_weights`.
        refine: Compare epochs by the losses after the best temperature of each classification
            task: for models that are calibrated afterwards.
        identity: Further facts that must be equal on resume, such as a hash of the table.

    Raises:
        InvalidArgument: If a value breaks its rule, or the optimizer holds other parameters.
        Unsupported: For a combination that could not be honoured.

    Example:
        >>> import torch
        >>> from polytask import MultiTaskModel, Regression
        >>> from polytask.backbones import MLP
        >>> from polytask.data import Batch, ResidentBatches
        >>> x = torch.linspace(-1, 1, 64).unsqueeze(1)
        >>> task = Regression("y").fit((2 * x[:, 0]).numpy())
        >>> target, mask = task.encode((2 * x[:, 0]).numpy())
        >>> table = Batch(x, {"y": target[:, None]}, {"y": mask[:, None]}, None, torch.arange(64))
        >>> model = MultiTaskModel.hard(MLP(1, width=16, depth=1, dropout=0.0), [task])
        >>> trainer = Trainer(model, [task], epochs=3, seed=1)
        >>> train, valid = (ResidentBatches(table, batch_size=16) for _ in range(2))
        >>> history = trainer.fit(train, valid)
        >>> len(history.epochs), history.stopped
        (3, 'epochs')
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Sequence[Task],
        *,
        optimizer: Optimizer | OptimizerSpec | None = None,
        balance: Balance | None = None,
        at: Literal["parameters", "representation"] = "parameters",
        heads: Literal["one", "weighted"] = "one",
        max_gradient_memory: int = 2**31,
        stopping: Stopping | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        accumulate: int = 1,
        checkpoint: Path | None = None,
        epochs: int = 256,
        schedule: Schedule | None = None,
        plateau: Plateau | None = None,
        clip_norm: float = 1.0,
        checkpoint_seconds: float = 30.0,
        penalties: Sequence[Penalty | InputGradient] = (),
        defence: Defence | None = None,
        keep: Literal["compromise", "per-task"] = "compromise",
        refine: bool = False,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        require(len(tasks) > 0, "tasks", "name at least one task", list(tasks))
        check_arguments(tasks, optimizer, balance)
        names = [task.name for task in tasks]
        require(len(set(names)) == len(names), "tasks", "have different names", names)
        at_least("accumulate", accumulate, 1)
        at_least("epochs", epochs, 1)
        at_least("clip_norm", clip_norm, 0)
        self.model = model
        self.tasks = tuple(tasks)
        self.balance: Balance = EqualWeights(len(tasks)) if balance is None else balance
        self._optimizer = optimizer or OptimizerSpec()
        self._seed = seed
        self._used = False
        self.history = History([task.name for task in tasks])
        """What happened so far; of the last fit, also when it ended in an error."""
        self.optimizer: Optimizer | None = None
        """The one that trained, after a fit."""
        self.penalties: BoundPenalties | None = None
        """The penalties on the weights, bound to the model, after a fit that has any."""
        self.task_weights: dict[str, State] = {}
        """Task → the weights of its own best epoch, after a fit with ``keep="per-task"``."""
        one_of("at", at, ("parameters", "representation"))
        one_of("heads", heads, ("one", "weighted"))
        positive("max_gradient_memory", max_gradient_memory)
        one_of("keep", keep, ("compromise", "per-task"))
        self._plan = Plan(
            balance=self.balance,
            at=at,
            heads=heads,
            max_gradient_memory=max_gradient_memory,
            stopping=stopping or Regret(),
            schedule=schedule or constant(),
            plateau=plateau,
            callbacks=tuple(callbacks),
            accumulate=accumulate,
            epochs=epochs,
            clip_norm=clip_norm,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
            defence=_with_penalties(defence or Defence(), penalties),
            keep_per_task=keep == "per-task",
            refine=refine,
            identity={**(identity or {}), "seed": str(seed)},
        )
        check_combination(self._plan)
        if isinstance(self._optimizer, Optimizer):
            check_binding(self._optimizer, nn.ModuleDict({"model": model, "balance": self.balance}))

    def fit(
        self,
        train: Batches,
        valid: Batches | None = None,
        *,
        balancing: Batches | None = None,
        resume: bool = False,
    ) -> History:
        """Trains until the stopping rule, the last epoch, or Ctrl-C; restores the best weights.

        Afterwards the model is in eval mode, ready to predict.

        Args:
            train: Training rows.
            valid: Validation rows; without them nothing can stop the run early, the last weights
                are kept, and curves have no validation side.
            balancing: Training rows that were set aside for a method which weighs tasks by how
                well they do (`held_out`): nothing is fitted to them and no epoch is chosen by them.
            resume: Go on from the checkpoint file, bit-identical to a run that was never stopped
                (same machine, torch version and thread count).

        Returns:
            What happened, epoch by epoch.

        Raises:
            TrainingDiverged: After 20 non-finite updates in a row; the best weights are restored.
            OutOfMemory: The best weights are restored.
            FileProblem: If the checkpoint cannot be written, or there is none to resume.
            DataError: On resume, if the checkpoint belongs to another run or table.
        """
        check_batches("train", train)
        if valid is not None:
            check_batches("valid", valid)
        check_balancing(self.balance, balancing)
        if self._used:
            raise Unsupported(
                "A Trainer fits once, or its balancer and optimizer would continue the first run. "
                "Build a new Trainer, or pass resume=True to a new one."
            )
        plan = self._plan
        if valid is None:
            check_without_validation(plan)
            plan = replace(plan, stopping=NoStopping())
        require(train.num_rows > 0, "train", "have at least one row", train.num_rows)
        if plan.checkpoint is not None and not resume:
            make_folder(plan.checkpoint.parent)
        example = next(iter(train.epoch()))
        self._used = True
        cuda = example.rows.device.type == "cuda"
        with RandomScope(self._seed, cuda=cuda) as random, Interrupt() as interrupt:
            model, groups = self._bind(example)
            if isinstance(self.balance, LossBalancer):
                warn_of_raw_targets(groups, self.balance, example)
            infos = self._infos(model, groups, example)
            optimizer = self._build_optimizer(model, groups, example, infos)
            loop = Loop(plan, model, groups, infos, optimizer, train, valid, balancing, random)
            if resume:
                loop.load()
            self.history = loop.history
            self.optimizer, self.penalties = optimizer, loop.penalties
            try:
                return loop.go(interrupt)
            finally:
                self.task_weights = {
                    task: loop.kept.of_epoch[epoch]
                    for task, epoch in zip(
                        self.history.tasks, self.history.best_epochs, strict=False
                    )
                    if epoch in loop.kept.of_epoch
                }

    def _infos(
        self, model: nn.Module, groups: Sequence[TaskGroup], example: Batch
    ) -> Sequence[ParameterInfo]:
        """The model's parameters; of a user's module, inferred by one backward pass per task."""
        if isinstance(model, MultiTaskModel):
            return model.roles()
        defence, settling = self._plan.defence, self._plan.stopping.when_settled
        sharp = isinstance(defence.sam, ASAM) or defence.task_sam is not None
        needed = defence.penalties or sharp or settling == "freeze"
        if isinstance(self._optimizer, Optimizer) and not needed:
            return []
        return infer_roles(model, groups, example)

    def _bind(self, example: Batch) -> tuple[nn.Module, Sequence[TaskGroup]]:
        """The model on the device of the rows, returning `ModelOutput`, and its task groups."""
        self.model.to(example.rows.device)
        self.balance.to(example.rows.device)
        if isinstance(self.model, MultiTaskModel):
            return self.model, self.model.groups
        own = self._optimizer
        separate = own.separate_tasks if isinstance(own, OptimizerSpec) else ()
        groups = group_tasks(self.tasks, separate=separate)
        return adapt(self.model, groups, example), groups

    def _build_optimizer(
        self,
        model: nn.Module,
        groups: Sequence[TaskGroup],
        example: Batch,
        infos: Sequence[ParameterInfo],
    ) -> Optimizer:
        if isinstance(self._optimizer, Optimizer):
            if isinstance(model, AdaptedModel) and model is not self.model and model.heads:
                raise InvalidArgument(
                    f"`optimizer` must hold the heads too, which {type(self.model).__name__} gets "
                    "only now. Pass an OptimizerSpec, or train adapt(module, groups, example) and "
                    "build the optimizer from its parameters()."
                )
            check_binding(self._optimizer, nn.ModuleDict({"model": model, "balance": self.balance}))
            return self._optimizer
        every = frozenset(task.name for task in self.tasks)
        learned = [
            ParameterInfo(f"balance.{name}", parameter, Role.BALANCE, Kind.SCALAR, every)
            for name, parameter in self.balance.named_parameters()
        ]
        return self._optimizer.build([*infos, *learned])


def _with_penalties(defence: Defence, penalties: Sequence[Penalty | InputGradient]) -> Defence:
    """The defence with the trainer's own list of penalties in it."""
    check_penalties(penalties)
    on_weights = tuple(p for p in penalties if isinstance(p, Penalty))
    on_inputs = [p for p in penalties if isinstance(p, InputGradient)]
    return replace(
        defence,
        penalties=(*defence.penalties, *on_weights),
        input_gradient=on_inputs[0] if on_inputs else defence.input_gradient,
    )
