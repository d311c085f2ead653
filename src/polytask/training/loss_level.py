"""The gradients of a window where losses are balanced: a backward pass of the weighted sum."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from polytask.balancing import LinearBalancer, LossBalancer
from polytask.data.batch import Inputs
from polytask.gradients import BackwardReport
from polytask.regularization.inputs import Adversarial
from polytask.regularization.objective import InputGradient

from .adversary import Adversary
from .forward import Forward
from .losses import Example


class Seen(NamedTuple):
    """What the backward passes of a window showed.

    Args:
        sums: Sums of the losses over the window ``[tasks]``.
        weights: Of the tasks in the update ``[tasks]``.
        report: How the task gradients lie to each other, where they were measured.
    """

    sums: Tensor
    weights: Tensor
    report: BackwardReport | None = None


@final
class LossLevel:
    """Weights from the losses, then one backward pass per micro-batch.

    A method whose weights depend on the losses must see those of the whole window: with several
    micro-batches they are looked at first, without gradients, at the price of a forward pass.

    Args:
        balance: The method.
        forward: Runs the model.
        penalize: Penalty on the gradient of the objective with respect to the inputs.
        adversarial: Rows count a second time, moved against the model.
    """

    def __init__(
        self,
        balance: LossBalancer,
        forward: Forward,
        penalize: InputGradient | None,
        adversarial: Adversarial | None = None,
    ) -> None:
        self.balance = balance
        self.forward = forward
        self.penalize = penalize
        self.adversary = None if adversarial is None else Adversary(adversarial, forward)

    def backward(self, examples: Sequence[Example], counts: Tensor, present: Tensor) -> Seen:
        """Adds the gradients of the window to ``.grad``.

        Args:
            examples: The micro-batches.
            counts: Labels of the window ``[tasks]``.
            present: Tasks that have labels and learn ``[tasks]``.
        """
        divisors = torch.where(counts > 0, counts, 1.0)
        rows = sum(len(example.batch.rows) for example in examples)
        known = None
        if len(examples) > 1 and not self.balance.linear:
            losses = self.forward.look(examples, self.forward.replay()) / divisors
            known = self._weights(losses, present, counts)
        total, weights = torch.zeros_like(divisors), torch.zeros_like(divisors)
        watched = self.penalize is not None or self.adversary is not None
        for example in examples:
            replay = None if self.adversary is None else self.forward.replay()
            passed = self.forward(example, watched=watched)
            sums = passed.sums.detach()
            weights = (
                known if known is not None else self._weights(sums / divisors, present, counts)
            )
            total = total + sums
            factors, penalties = weights / divisors, [p / len(examples) for p in passed.penalties]
            if self.adversary is not None and replay is not None:
                penalty = torch.stack(penalties).sum() if penalties else None
                self.adversary.backward(example, passed, factors, penalty, replay)
                continue
            objective = torch.dot(factors, passed.sums)
            if self.penalize is not None:
                inputs = _floating(passed.inputs)
                objective = objective + self.penalize.value(objective, inputs, rows)
            for penalty in penalties:
                objective = objective + penalty
            if objective.requires_grad:
                torch.autograd.backward(objective)
        return Seen(total, weights)

    def _weights(self, losses: Tensor, present: Tensor, counts: Tensor) -> Tensor:
        """The gradient of the balanced objective with respect to the losses."""
        if isinstance(self.balance, LinearBalancer):
            return self.balance.weights(present, counts, losses.dtype)
        losses = losses.detach().requires_grad_()
        with torch.enable_grad():
            objective = self.balance(losses, present, counts)
        if objective.requires_grad:
            objective.backward()
        return torch.zeros_like(losses) if losses.grad is None else losses.grad


def _floating(inputs: Inputs) -> list[Tensor]:
    parts = [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
    return [part for part in parts if part.is_floating_point()]
