"""The gradients of a window where losses are balanced: a backward pass of the weighted sum."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from polytask.balancing import LinearBalancer, LossBalancer
from polytask.data.batch import Inputs
from polytask.gradients import BackwardReport
from polytask.regularization.objective import InputGradient

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
    """

    def __init__(
        self, balance: LossBalancer, forward: Forward, penalize: InputGradient | None
    ) -> None:
        self.balance = balance
        self.forward = forward
        self.penalize = penalize

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
        for example in examples:
            passed = self.forward(example, watched=self.penalize is not None)
            sums = passed.sums.detach()
            weights = (
                known if known is not None else self._weights(sums / divisors, present, counts)
            )
            objective = torch.dot(weights / divisors, passed.sums)
            if self.penalize is not None:
                watched = _floating(passed.inputs)
                objective = objective + self.penalize.value(objective, watched, rows)
            for penalty in passed.penalties:
                objective = objective + penalty / len(examples)
            if objective.requires_grad:
                torch.autograd.backward(objective)
            total = total + sums
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
