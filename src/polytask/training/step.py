"""One update, in the one order that every technique relies on.

counts of the window → input regularizers → forward → losses (sums, counts), mixed or blended with
a teacher's → balance: the weights of the tasks → weighted sum, plus the penalties of the
architecture and the penalties that act by gradient, added once and unweighted → backward →
non-finite check (skips everything below) → global clip → gradient noise → optimizer step → proximal
steps → lookahead → frozen heads put back → weight average → a look at the losses after the update,
for methods that compare them.

Balancing works at one of two levels: `LossLevel` weighs the losses and differentiates their sum,
`GradientLevel` combines the gradients of the tasks. With SAM or ASAM everything from the
forward to the backward runs twice, the second time at perturbed weights, with the same dropout
masks and the same state of the balancing method; that state and running statistics move once. With
adversarial training, `LossLevel` passes forward and backward through every row a second time, moved
against the model, with the labels, masks and task weights of the first time. With task SAM,
`GradientLevel` hands over every task's loss at that task's own worst point, from one pass more per
task.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from polytask._files.fail_points import fail_point
from polytask.aggregation import GramianAggregator
from polytask.balancing import LossBalancer
from polytask.data.batch import Batch, Window
from polytask.diagnostics.geometry import GeometrySums
from polytask.gradients import Balance, MultiTaskBackward
from polytask.regularization.objective import BoundPenalties
from polytask.tasks.groups import TaskGroup

from .defence import Defence
from .forward import Forward
from .freezing import FrozenHeads
from .gradient_level import GradientLevel
from .loss_level import LossLevel, Seen
from .losses import Example, example_of, label_counts_of
from .measure import user_order
from .moving import Moved, Moving
from .seeding import Replay
from .teaching import Teaching


@final
class Step:
    """Runs updates and keeps their per-task numbers on the device until somebody asks.

    Args:
        model: Returns `ModelOutput`.
        groups: Task groups.
        balance: Losses → objective; or the engine that drives a method which combines gradients.
        optimizer: Holds every trainable parameter of model and balance exactly once.
        clip_norm: Largest global gradient norm; 0 means no clipping.
        defence: Techniques against overfitting.
        penalties: The penalties of `defence`, bound to the parameters and the optimizer.
        teaching: A teacher's part in the losses.
        frozen: Heads that no longer move.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[TaskGroup],
        balance: LossBalancer | MultiTaskBackward,
        optimizer: Optimizer,
        clip_norm: float,
        defence: Defence | None = None,
        penalties: BoundPenalties | None = None,
        teaching: Teaching | None = None,
        frozen: FrozenHeads | None = None,
    ) -> None:
        self.defence = defence or Defence()
        self.penalties = penalties
        self.frozen = frozen
        self.model = model
        self.groups = groups
        self.balance: Balance = (
            balance.balance if isinstance(balance, MultiTaskBackward) else balance
        )
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.moving = Moving(model, self.balance)
        device = self.parameters[0].device
        self.forward = Forward(model, groups, self.moving, teaching, device)
        names = [task.name for group in groups for task in group.tasks]
        tasks = [names[position] for position in user_order(groups)]
        self.level = (
            GradientLevel(balance, self.forward, tasks, self.defence.task_sam)
            if isinstance(balance, MultiTaskBackward)
            else LossLevel(
                balance, self.forward, self.defence.input_gradient, self.defence.adversarial
            )
        )
        self.totals = torch.zeros(3, len(tasks), device=device)
        """Running sums over the epoch: losses · counts, counts, weights (user's order)."""
        self._sums, self._counts, self._weights = self.totals.unbind()
        method = self.balance
        norms_only = isinstance(method, GramianAggregator) and method.needs == "norms"
        self.geometry = GeometrySums(len(tasks), norms_only=norms_only, device=device)
        """How the gradients of the tasks lay to each other in the updates of the epoch."""
        self.skipped = 0
        self.updates = 0
        self.done = 0
        """Updates of the whole run that changed the weights."""

    def reset(self) -> None:
        """Starts the running numbers of a new epoch."""
        self.totals.zero_()
        self.geometry.reset()
        self.skipped = 0
        self.updates = 0

    def state_dict(self) -> dict[str, Any]:
        """The running numbers of the epoch, and which parameters were seen to be shared."""
        state = {"totals": self.totals, "skipped": self.skipped, "updates": self.updates,
                 "done": self.done, "geometry": self.geometry.state_dict()}  # fmt: skip
        if isinstance(self.level, GradientLevel):
            state["shared"] = self.level.engine.state_dict(self.parameters)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.totals.copy_(torch.as_tensor(state_dict["totals"]))
        self.geometry.load_state_dict(state_dict["geometry"])
        self.skipped = int(state_dict["skipped"])
        self.updates = int(state_dict["updates"])
        self.done = int(state_dict["done"])
        if isinstance(self.level, GradientLevel):
            self.level.engine.load_state_dict(state_dict["shared"], self.parameters)

    def update(self, window: Window, fraction: float = 0.0) -> bool:
        """One optimizer step over the micro-batches of a window.

        Args:
            window: Micro-batches and their label counts.
            fraction: Of the run that is over, in [0, 1].

        Returns:
            False if the gradient is not finite: then nothing but `skipped` has changed.
        """
        batches, window_counts = window
        examples = [self._regularized(batch) for batch in batches]
        labels = label_counts_of(examples, window_counts)
        counts = self.forward.in_user_order([labels[group.name] for group in self.groups])
        before = self.moving.save()
        self.updates += 1
        observes = isinstance(self.balance, LossBalancer) and self.balance.observes
        again = self.defence.sam is not None or observes
        replay = self.forward.replay() if again else None
        seen = self._backward(examples, counts)
        sharp = self.defence.sam is None or self._at_perturbed(examples, counts, before, replay)
        if not (sharp and self._apply(fraction)):
            self.skipped += 1
            self.moving.restore(before)
            return False
        self._sums.add_(seen.sums)
        self._counts.add_(counts)
        self._weights.add_(seen.weights)
        report = seen.report
        if report is not None and report.gramian is not None:
            self.geometry.add(report.gramian, seen.weights, report.present, report.flags)
        if observes:
            self._observe(examples, counts, replay)
        return True

    def _regularized(self, batch: Batch) -> Example:
        """The batch after the input regularizers."""
        mixing = None
        for technique in self.defence.inputs:
            batch, mixed = technique(batch)
            mixing = mixing if mixed is None else mixed
        return example_of(batch, mixing)

    def _backward(self, examples: Sequence[Example], counts: Tensor) -> Seen:
        """The gradients of the update; per task its loss sums and its weight."""
        self.optimizer.zero_grad(set_to_none=True)
        seen = self.level.backward(examples, counts, self._present(counts))
        term = None if self.penalties is None else self.penalties.objective()
        if term is not None:
            torch.autograd.backward(term)
        return seen

    def _present(self, counts: Tensor) -> Tensor:
        """Tasks that have labels and still learn."""
        present = counts > 0
        return present if self.frozen is None else self.frozen.learning(present)

    def _at_perturbed(
        self, examples: Sequence[Example], counts: Tensor, before: Moved, replay: Replay | None
    ) -> bool:
        """Replaces the gradient by the one at SAM's perturbed weights; False if not finite.

        The method is asked again in the state in which it was asked first, draws included.
        """
        sam = self.defence.sam
        assert sam is not None
        assert replay is not None
        if not math.isfinite(_norm([p.grad for p in self.parameters if p.grad is not None])):
            return False
        moved = self.moving.save()
        self.moving.restore(before)
        saved = sam.climb_(self.parameters)
        try:
            with replay.again():
                self._backward(examples, counts)
        finally:
            sam.restore_(saved)
            self.moving.restore(moved)
        return True

    def _observe(self, examples: Sequence[Example], counts: Tensor, replay: Replay | None) -> None:
        """Shows a method the losses of the same rows after the update."""
        assert isinstance(self.balance, LossBalancer)
        assert replay is not None
        sums = self.forward.look(examples, replay)
        losses = sums / torch.where(counts > 0, counts, 1.0)
        self.balance.observe(losses, self._present(counts))

    def _apply(self, fraction: float) -> bool:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = _norm(gradients)
        if not math.isfinite(norm):
            return False
        if self.clip_norm and norm > self.clip_norm:
            torch._foreach_mul_(gradients, self.clip_norm / norm)
        defence = self.defence
        if defence.noise is not None:
            defence.noise.add_(self.parameters, self.done)
        fail_point("step.before-optimizer")
        self.optimizer.step()
        if self.penalties is not None:
            self.penalties.prox_()
        self.done += 1
        if defence.lookahead is not None:
            defence.lookahead.update(self.model, self.done, fraction)
        if self.frozen is not None:
            self.frozen.put_back()
        if defence.averaging is not None:
            defence.averaging.update(self.model, self.done, fraction)
        fail_point("step.after-optimizer")
        return True


def _norm(gradients: list[Tensor]) -> float:
    """The global norm; the one number an update reads back from the device."""
    if not gradients:
        return 0.0
    norms = torch.stack(torch._foreach_norm(gradients))
    return float(torch.linalg.vector_norm(norms))
