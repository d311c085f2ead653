"""One call of `Trainer.fit`: the loop, its records, its checkpoints."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from torch import Tensor, nn
from torch.optim import Optimizer

from polytask._files.fail_points import fail_point
from polytask.balancing.base import LossBalancer
from polytask.data.batch import Batches, Window
from polytask.errors import FileProblem, InvalidArgument, OutOfMemory, TrainingDiverged
from polytask.optim import Plateau, Schedule, apply_rate
from polytask.tasks.groups import TaskGroup

from .callbacks import Callback, EpochView, StepView
from .checkpoint import environment, load_checkpoint, save_checkpoint
from .history import EpochRecord, History
from .interrupt import Interrupt
from .measure import finite, means, measure, measure_baseline, subset, user_order
from .memory import out_of_memory
from .seeding import RandomScope
from .step import Step
from .stopping import Stopping

CURVE_ROWS = 4096
"""Training rows on which the training curve is measured in eval mode."""

MAX_SKIPPED = 20
"""Non-finite updates in a row after which a run counts as diverged."""


@dataclass(frozen=True)
class Plan:
    """What a run follows; the arguments of `Trainer` that the loop reads."""

    balance: LossBalancer
    stopping: Stopping
    schedule: Schedule
    plateau: Plateau | None
    callbacks: Sequence[Callback]
    accumulate: int
    epochs: int
    clip_norm: float
    checkpoint: Path | None
    checkpoint_seconds: float
    identity: Mapping[str, str] = field(default_factory=dict)


@final
class Loop:
    """The objects that live as long as one fit.

    Args:
        plan: What to follow.
        model: Returns `ModelOutput`; on the device of the batches.
        groups: Task groups of the model.
        optimizer: Bound to model and balancer.
        train: Training rows.
        valid: Validation rows or None.
        random: The random scope that is entered.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        groups: Sequence[TaskGroup],
        optimizer: Optimizer,
        train: Batches,
        valid: Batches | None,
        random: RandomScope,
    ) -> None:
        self.plan = plan
        self.model = model
        self.groups = groups
        self.optimizer = optimizer
        self.train = train
        self.valid = valid
        self.random = random
        self.order = user_order(groups)
        self.step = Step(model, groups, plan.balance, optimizer, plan.clip_norm)
        self.curve = subset(train, CURVE_ROWS)
        names = [task.name for group in groups for task in group.tasks]
        self.history = History([names[position] for position in self.order])
        if valid is not None:
            self.history.baseline = means(measure_baseline(valid.epoch(), groups), self.order)
        self.best = self._snapshot()
        self.epoch = 1
        self.steps = train.num_windows(plan.accumulate)
        self.consecutive_skips = 0
        self.ended = False
        self.saved_at = time.monotonic()
        self.identity = {
            **plan.identity,
            **environment(),
            "rows": str(train.num_rows),
            "tasks": ", ".join(self.history.tasks),
            "epochs": str(plan.epochs),
            "steps per epoch": str(self.steps),
            "optimizer": type(optimizer).__name__,
            "balance": type(plan.balance).__name__,
            "number of parameters": str(sum(p.numel() for p in self.step.parameters)),
        }

    # ── the loop ────────────────────────────────────────────────────────────────────────────

    def go(self, interrupt: Interrupt) -> History:
        """Runs to the end and leaves the best weights in the model, which is then in eval mode."""
        plan = self.plan
        try:
            for callback in plan.callbacks:
                callback.start(self.history, plan.epochs)
            while not self.history.stopped:
                started = time.monotonic()
                self.model.train()
                for window in self.train.windows(plan.accumulate):
                    self._update(window)
                    if interrupt.requested:
                        self.save()
                        return self._end("interrupted")
                    self._save_if_due()
                self._end_epoch(time.monotonic() - started)
                fail_point("epoch.end")
                self._save_if_due(finished=bool(self.history.stopped))
            return self._end(self.history.stopped)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            self._end("out of memory")
            raise OutOfMemory(self._memory_sentence()) from error
        finally:  # a full disk, an error in a hook, a second Ctrl-C: the best weights all the same
            if not self.ended:
                self.model.load_state_dict(self.best)
            self.model.eval()

    def _update(self, window: Window) -> None:
        plan, step = self.plan, self.step
        fraction = (self.epoch - 1 + step.updates / self.steps) / plan.epochs
        # The middle of the update: a warm-up from 0 and a decay to 0 would waste an update each.
        factor = plan.schedule(fraction + 0.5 / (self.steps * plan.epochs))
        if plan.plateau is not None:
            factor *= plan.plateau.rate
        apply_rate(self.optimizer, factor)
        plan.balance.progress(fraction, self.epoch - 1 + step.updates / self.steps)
        done = step.update(window)
        self.consecutive_skips = 0 if done else self.consecutive_skips + 1
        if self.consecutive_skips >= MAX_SKIPPED:
            self._end("diverged")
            raise TrainingDiverged(
                f"The loss became NaN or infinite in epoch {self.epoch} "
                f"({MAX_SKIPPED} updates in a row); {self._kept()} "
                "Lower the learning rate, or look for extreme values in the table."
            )
        view = StepView(self.epoch, plan.epochs, step.updates, self.steps)
        for callback in plan.callbacks:
            callback.step(view)

    def _end_epoch(self, seconds: float) -> None:
        plan, history = self.plan, self.history
        empty: list[float | None] = [None] * len(self.order)
        train = finite(means(measure(self.model, self.curve, self.groups), self.order))
        valid = empty
        if self.valid is not None:
            valid = means(measure(self.model, self.valid.epoch(), self.groups), self.order)
            broken = [
                n for n, v in zip(history.tasks, valid, strict=True) if not math.isfinite(v or 0)
            ]
            if broken:
                self._end("diverged")
                raise TrainingDiverged(
                    f"The validation loss of '{broken[0]}' is not finite after epoch {self.epoch}; "
                    f"{self._kept()} Lower the learning rate, or look for extreme values."
                )
        totals = self.step.totals.double().cpu()
        running = finite((totals[0] / totals[1]).tolist())
        done = self.step.updates - self.step.skipped
        record = EpochRecord(
            epoch=self.epoch,
            steps=self.steps * self.epoch,
            running=running,
            train=train,
            valid=valid,
            weights=finite((totals[2] / done).tolist()),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            skipped=self.step.skipped,
            seconds=round(seconds, 4),
        )
        history.epochs.append(record)
        if plan.stopping.update(valid, history.baseline or empty):
            self.best = self._snapshot()
        history.best_epoch = plan.stopping.best_epoch
        history.best_epochs = [self._best_of(index) for index in range(len(self.order))]
        if plan.plateau is not None:
            plan.plateau.observe(plan.stopping.scores[-1])
        view = EpochView(
            record,
            history,
            history.best_epoch,
            plan.stopping.stalled,
            plan.stopping.patience,
            plan.epochs,
        )
        for callback in plan.callbacks:
            callback.epoch(view)
        if plan.stopping.stop:
            history.stopped = "patience"
        elif self.epoch >= plan.epochs:
            history.stopped = "epochs"
        self.epoch += 1
        self.step.reset()

    def _best_of(self, task: int) -> int:
        losses = [(r.valid[task], r.epoch) for r in self.history.epochs]
        known = [(loss, -epoch) for loss, epoch in losses if loss is not None]
        return -min(known)[1] if known else 0

    def _end(self, reason: str) -> History:
        self.history.stopped = reason
        self.ended = True
        self.model.load_state_dict(self.best)
        for callback in self.plan.callbacks:
            callback.end(self.history)
        return self.history

    def _kept(self) -> str:
        best = self.history.best_epoch
        return f"the weights of epoch {best} were kept." if best else "no epoch was finished."

    def _memory_sentence(self) -> str:
        return (
            f"Out of memory in epoch {self.epoch}; {self._kept()} Use a smaller batch size "
            "(with `accumulate` the update stays the same) or a narrower model."
        )

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────

    def _save_if_due(self, finished: bool = False) -> None:
        age = time.monotonic() - self.saved_at
        if finished or age >= self.plan.checkpoint_seconds:
            self.save()
            self.saved_at = time.monotonic()

    def save(self) -> None:
        """Writes a checkpoint of the state between two updates."""
        if self.plan.checkpoint is None:
            return
        plateau = self.plan.plateau
        save_checkpoint(
            self.plan.checkpoint,
            self.identity,
            {
                "model": dict(self.model.state_dict()),
                "best": self.best,
                "optimizer": self.optimizer.state_dict(),
                "balance": dict(self.plan.balance.state_dict()),
                "stopping": self.plan.stopping.state_dict(),
                "plateau": plateau.state_dict() if plateau else None,
                "batches": self.train.state_dict(),
                "random": self.random.state_dict(),
                "step": self.step.state_dict(),
                "history": self.history.to_json(),
                "epoch": self.epoch,
                "consecutive_skips": self.consecutive_skips,
            },
        )

    def load(self) -> None:
        """Continues from the checkpoint."""
        path = self.plan.checkpoint
        if path is None:
            raise InvalidArgument("`resume` must come with a `checkpoint` file; got None.")
        if not path.exists():
            raise FileProblem(f"Nothing to resume: there is no checkpoint at '{path}'.")
        state = load_checkpoint(path, self.identity)
        self.model.load_state_dict(state["model"])
        self.best = {n: v.to(self.step.totals.device) for n, v in state["best"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.plan.balance.load_state_dict(state["balance"])
        self.plan.stopping.load_state_dict(state["stopping"])
        if self.plan.plateau is not None:
            self.plan.plateau.load_state_dict(state["plateau"])
        self.train.load_state_dict(state["batches"])
        self.step.load_state_dict(state["step"])
        self.history = History.from_json(state["history"])
        self.epoch = state["epoch"]
        self.consecutive_skips = state["consecutive_skips"]
        self.random.load_state_dict(state["random"])
