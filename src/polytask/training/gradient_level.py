"""The gradients of a window where the gradients of the tasks are combined."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from polytask.aggregation import Aggregator
from polytask.gradients import MultiTaskBackward, branch
from polytask.regularization.update import TaskSAM

from .forward import Forward
from .loss_level import Seen
from .losses import Example


@final
class GradientLevel:
    """Hands the losses of a window to `MultiTaskBackward`, one by one.

    The heads read copies of the shared features (`branch`), so that one pass through all heads
    gives the gradient of every task at the features, stacked heads included.

    Args:
        engine: Drives the method.
        forward: Runs the model.
        tasks: Names, in the user's order.
        task_sam: Takes every task's loss at its own worst point; then the engine must know what is
            shared, and a window has one micro-batch.
    """

    def __init__(
        self,
        engine: MultiTaskBackward,
        forward: Forward,
        tasks: Sequence[str],
        task_sam: TaskSAM | None = None,
    ) -> None:
        assert isinstance(engine.balance, Aggregator)
        self.engine = engine
        self.forward = forward
        self.tasks = tuple(tasks)
        self.task_sam = task_sam

    def backward(self, examples: Sequence[Example], counts: Tensor, present: Tensor) -> Seen:
        """Adds the gradients of the window to ``.grad``.

        Args:
            examples: The micro-batches.
            counts: Labels of the window ``[tasks]``.
            present: Tasks that have labels and learn ``[tasks]``.
        """
        divisors = torch.where(counts > 0, counts, 1.0)
        here = present.tolist()
        total = torch.zeros_like(divisors)
        if self.task_sam is not None:
            return self._at_worst_points(self.task_sam, examples[0], divisors, here)
        for example in examples:
            passed = self.forward(example, branch)
            total = total + passed.sums.detach()
            _add(passed.penalties, len(examples))
            if len(examples) == 1:
                report = self.engine(self._named((passed.sums / divisors).unbind(), here))
            else:
                voting = torch.where(present, counts, 0.0)
                counted = dict(zip(self.tasks, voting.unbind(), strict=True))
                self.engine.accumulate(self._named(passed.sums.unbind(), here), counted)
        if len(examples) > 1:
            report = self.engine.finish()
        return Seen(total, report.weights, report)

    def _at_worst_points(
        self, sam: TaskSAM, example: Example, divisors: Tensor, here: Sequence[bool]
    ) -> Seen:
        """One more pass per task, with the same dropout masks; running statistics move once."""
        replay = self.forward.replay()
        passed = self.forward(example)
        _add(passed.penalties, 1)
        parameters = dict(self.forward.model.named_parameters())
        statistics = self.forward.moving.statistics()
        losses = []
        for place, loss in enumerate((passed.sums / divisors).unbind()):
            if not here[place]:
                losses.append(loss)
                continue
            with replay.again():
                there = self.forward(example, weights=sam.worst(parameters, loss))
            losses.append(there.sums[place] / divisors[place])
        report = self.engine(self._named(losses, here))
        self.forward.moving.restore(statistics)
        return Seen(passed.sums.detach(), report.weights, report)

    def _named(self, losses: Sequence[Tensor], here: Sequence[bool]) -> dict[str, Tensor | None]:
        """Task → its loss; None for a task that has no vote."""
        return {
            name: loss if present else None
            for name, loss, present in zip(self.tasks, losses, here, strict=True)
        }


def _add(penalties: Sequence[Tensor], examples: int) -> None:
    """Adds their gradients once, unweighted, before the graph is taken apart; frozen ones none."""
    if penalties:
        penalty = torch.stack([*penalties]).sum() / examples
        if penalty.requires_grad:
            torch.autograd.backward(penalty, retain_graph=True)
