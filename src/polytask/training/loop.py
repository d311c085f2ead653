"""One call of `Trainer.fit`: the loop, its records, its checkpoints."""

import math
import time
from collections.abc import Sequence
from typing import final

import torch
from torch import nn
from torch.optim import Optimizer

from polytask._files.fail_points import fail_point
from polytask.balancing import LossBalancer
from polytask.data.batch import Batches, Window
from polytask.diagnostics.geometry import TaskGeometry
from polytask.errors import FileProblem, InvalidArgument, OutOfMemory, TrainingDiverged
from polytask.optim import ParameterInfo, apply_decay, apply_rate
from polytask.regularization.features import DropoutSchedule
from polytask.regularization.objective import BoundPenalties
from polytask.regularization.update import ASAM, unscaled
from polytask.tasks.groups import TaskGroup

from .averaged import measured_weights
from .callbacks import EpochView, StepView
from .checkpoint import environment, load_checkpoint, save_checkpoint
from .combinations import check_layers
from .freezing import FrozenHeads
from .history import EpochRecord, History
from .interrupt import Interrupt
from .keeping import Kept
from .loop_state import loop_state, restore_loop
from .measure import finite, means, measure, measure_baseline, subset, user_order
from .memory import out_of_memory
from .plan import Plan
from .refinement import refined_losses
from .seeding import RandomScope
from .step import Step
from .teaching import Teaching

CURVE_ROWS = 4096
"""Training rows on which the training curve is measured in eval mode."""

MAX_SKIPPED = 20
"""Non-finite updates in a row after which a run counts as diverged."""


@final
class Loop:
    """The objects that live as long as one fit.

    Args:
        plan: What to follow.
        model: Returns `ModelOutput`; on the device of the batches.
        groups: Task groups of the model.
        infos: The model's parameters.
        optimizer: Bound to model and balancer.
        train: Training rows.
        valid: Validation rows or None.
        balancing: Rows set aside for balancing, or None.
        random: The random scope that is entered.
    """

    def __init__(
        self,
        plan: Plan,
        model: nn.Module,
        groups: Sequence[TaskGroup],
        infos: Sequence[ParameterInfo],
        optimizer: Optimizer,
        train: Batches,
        valid: Batches | None,
        balancing: Batches | None,
        random: RandomScope,
    ) -> None:
        self.plan = plan
        self.model = model
        self.groups = groups
        self.optimizer = optimizer
        self.train = train
        self.valid = valid
        self.balancing = balancing
        self.random = random
        self.order = user_order(groups)
        names = [task.name for group in groups for task in group.tasks]
        self.history = History([names[position] for position in self.order])
        defence, settling = plan.defence, plan.stopping.when_settled
        self.penalties = (
            BoundPenalties(defence.penalties, infos, optimizer) if defence.penalties else None
        )
        check_layers(defence, model)
        device = next(model.parameters()).device
        self.teaching = Teaching.of(defence, groups, train.num_rows, device, settling == "distil")
        self.frozen = (
            FrozenHeads(model, infos, self.history.tasks, device) if settling == "freeze" else None
        )
        self.dropout = DropoutSchedule(model, defence.dropout) if defence.dropout else None
        for weights in (defence.lookahead, defence.averaging):
            if weights is not None:
                weights.start(model)
        if isinstance(defence.sam, ASAM):
            defence.sam.leave([*unscaled(infos), *plan.balance.parameters()])
        self.step = Step(
            model,
            groups,
            plan.driven(infos),
            optimizer,
            plan.clip_norm,
            defence,
            self.penalties,
            self.teaching,
            self.frozen,
        )
        self.curve = subset(train, CURVE_ROWS)
        if valid is not None:
            self.history.baseline = means(measure_baseline(valid.epoch(), groups), self.order)
        self.kept = Kept(model, per_task=plan.keep_per_task or settling == "distil")
        self.epoch = 1
        self.steps = train.num_windows(plan.accumulate)
        self.consecutive_skips = 0
        self.resumed = False
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
            "balance": plan.method(),
            "defence": plan.defence.summary(),
            "number of parameters": str(sum(p.numel() for p in self.step.parameters)),
        }

    # ── the loop ────────────────────────────────────────────────────────────────────────────

    def go(self, interrupt: Interrupt) -> History:
        """Runs to the end and leaves the best weights in the model, which is then in eval mode."""
        plan = self.plan
        try:
            if not self.resumed:
                self._measure_for_balancing()
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
                self.model.load_state_dict(self.kept.compromise)
            if self.dropout is not None:
                self.dropout.restore()
            self.model.eval()

    def _update(self, window: Window) -> None:
        plan, step = self.plan, self.step
        fraction = (self.epoch - 1 + step.updates / self.steps) / plan.epochs
        # The middle of the update: a warm-up from 0 and a decay to 0 would waste an update each.
        factor = plan.schedule(fraction + 0.5 / (self.steps * plan.epochs))
        if plan.plateau is not None:
            factor *= plan.plateau.rate
        apply_rate(self.optimizer, factor)
        if plan.defence.decay is not None:
            apply_decay(self.optimizer, plan.defence.decay(fraction))
        if self.dropout is not None:
            self.dropout.apply(fraction)
        if self.teaching is not None:
            self.teaching.fraction = fraction
        if isinstance(plan.balance, LossBalancer):
            plan.balance.progress(fraction, self.epoch - 1 + step.updates / self.steps)
        after = fraction + 1 / (self.steps * plan.epochs)
        done = step.update(window, after)
        self.consecutive_skips = 0 if done else self.consecutive_skips + 1
        if self.consecutive_skips >= MAX_SKIPPED:
            self._end("diverged")
            raise TrainingDiverged(
                f"The loss became NaN or infinite in epoch {self.epoch} "
                f"({MAX_SKIPPED} updates in a row); {self._kept_words()} "
                "Lower the learning rate, or look for extreme values in the table."
            )
        view = StepView(self.epoch, plan.epochs, step.updates, self.steps)
        for callback in plan.callbacks:
            callback.step(view)

    def _end_epoch(self, seconds: float) -> None:
        plan, history = self.plan, self.history
        if isinstance(plan.balance, LossBalancer):
            plan.balance.end_epoch()
        self._measure_for_balancing()
        with measured_weights(self.model, plan.defence.measured, self.train):
            record = self._record(seconds)
            broken = next((n for n, v in zip(history.tasks, record.valid, strict=True)
                           if not math.isfinite(v or 0)), None)  # fmt: skip
            if broken is None:
                self._keep(record)
        if broken is not None:
            self._end("diverged")
            raise TrainingDiverged(
                f"The validation loss of '{broken}' is not finite after epoch {self.epoch}; "
                f"{self._kept_words()} Lower the learning rate, or look for extreme values."
            )
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
        self._settle()
        self.epoch += 1
        self.step.reset()

    def _measure_for_balancing(self) -> None:
        """Shows a method that weighs tasks by how well they do the losses on its own rows."""
        if self.balancing is None:
            return
        assert isinstance(self.plan.balance, LossBalancer)
        found = measure(self.model, self.balancing.epoch(), self.groups)
        sums, counts = found.sums[self.order], found.counts[self.order]
        losses = sums / torch.where(counts > 0, counts, 1.0)
        self.plan.balance.measured(losses, counts > 0)

    def _record(self, seconds: float) -> EpochRecord:
        """The numbers of the epoch, of the weights that the model holds now."""
        valid: list[float | None] = [None] * len(self.order)
        if self.valid is not None:
            valid = means(measure(self.model, self.valid.epoch(), self.groups), self.order)
        refined: list[float | None] = []
        if self.plan.refine and self.valid is not None:
            refined = refined_losses(self.model, self.valid.epoch(), self.groups, valid)
        totals = self.step.totals.double().cpu()
        done = self.step.updates - self.step.skipped
        return EpochRecord(
            epoch=self.epoch,
            steps=self.steps * self.epoch,
            running=finite((totals[0] / totals[1]).tolist()),
            train=finite(means(measure(self.model, self.curve, self.groups), self.order)),
            valid=valid,
            weights=finite((totals[2] / done).tolist()),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            skipped=self.step.skipped,
            seconds=round(seconds, 4),
            penalties={} if self.penalties is None else self.penalties.values(),
            refined=refined,
            geometry=self._geometry(),
        )

    def _geometry(self) -> TaskGeometry | None:
        """How the task gradients lay to each other, where the method has them measured."""
        found = self.step.geometry.summary()
        return found if found.updates or found.flags else None

    def _keep(self, record: EpochRecord) -> None:
        """Enters the epoch into the history, and keeps its weights if they are the best so far."""
        history, rule = self.history, self.plan.stopping
        history.epochs.append(record)
        best = rule.update(record.decisive, history.baseline or [None] * len(record.valid))
        history.best_epoch = rule.best_epoch
        history.forget_pairs()
        history.best_epochs = [self._best_of(index) for index in range(len(self.order))]
        self.kept.epoch(self.model, self.epoch, best=best, best_epochs=history.best_epochs)

    def _settle(self) -> None:
        """Freezes, or teaches by its own best weights, every task that has settled by now."""
        rule, history = self.plan.stopping, self.history
        if rule.when_settled == "nothing" or history.stopped:
            return
        new = [
            index
            for index, (name, settled) in enumerate(zip(history.tasks, rule.settled, strict=True))
            if settled and name not in history.settled
        ]
        for index in new:
            name, best = history.tasks[index], history.best_epochs[index]
            history.settled[name] = self.epoch
            if self.teaching is not None:
                self.teaching.learn(self.model, self.kept.of_epoch[best], [name], self.train)
        if self.frozen is not None:
            self.frozen.freeze(rule.settled)

    def _best_of(self, task: int) -> int:
        losses = [(r.decisive[task], r.epoch) for r in self.history.epochs]
        known = [(loss, -epoch) for loss, epoch in losses if loss is not None]
        return -min(known)[1] if known else 0

    def _end(self, reason: str) -> History:
        self.history.stopped = reason
        self.ended = True
        self.model.load_state_dict(self.kept.compromise)
        for callback in self.plan.callbacks:
            callback.end(self.history)
        return self.history

    def _kept_words(self) -> str:
        best = self.history.best_epoch
        return f"the weights of epoch {best} were kept." if best else "no epoch was finished."

    def _memory_sentence(self) -> str:
        return (
            f"Out of memory in epoch {self.epoch}; {self._kept_words()} Use a smaller batch size "
            "(with `accumulate` the update stays the same) or a narrower model."
        )

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
        save_checkpoint(self.plan.checkpoint, self.identity, loop_state(self))

    def load(self) -> None:
        """Continues from the checkpoint."""
        path = self.plan.checkpoint
        if path is None:
            raise InvalidArgument("`resume` must come with a `checkpoint` file; got None.")
        if not path.exists():
            raise FileProblem(f"Nothing to resume: there is no checkpoint at '{path}'.")
        restore_loop(self, load_checkpoint(path, self.identity))
        self.resumed = True
