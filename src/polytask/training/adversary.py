"""The two backward passes of an example that is trained on as it is and moved against the model."""

from typing import final

import torch
from torch import Tensor

from polytask.regularization.inputs import Adversarial

from .forward import Forward, Passed
from .losses import Example
from .seeding import Replay


@final
class Adversary:
    """Adds the gradient of α J(x) + (1 − α) J(x + ε sign ∂J/∂x) to ``.grad``.

    Args:
        technique: Says ε and α.
        forward: Runs the model.
    """

    def __init__(self, technique: Adversarial, forward: Forward) -> None:
        self.technique = technique
        self.forward = forward

    def backward(
        self,
        example: Example,
        passed: Passed,
        factors: Tensor,
        penalty: Tensor | None,
        replay: Replay,
    ) -> None:
        """Both passes; labels, mixing, dropout masks and running statistics are those of the first.

        Args:
            example: The batch, perhaps mixed.
            passed: Its forward pass, with watched inputs.
            factors: J = Σ factors · sums of the losses ``[tasks]``.
            penalty: Added once and unweighted; it has no part in the direction.
            replay: The random streams before the forward pass.
        """
        share = self.technique.share
        objective = torch.dot(factors, passed.sums)
        if objective.requires_grad:
            torch.autograd.backward(share * objective, retain_graph=penalty is not None)
        moved = self.technique.moved(passed.inputs)
        if penalty is not None and penalty.requires_grad:
            torch.autograd.backward(penalty)
        worse = example._replace(batch=example.batch._replace(inputs=moved))
        statistics = self.forward.moving.statistics()
        with replay.again():
            objective = torch.dot(factors, self.forward(worse).sums)
        if objective.requires_grad:
            torch.autograd.backward((1 - share) * objective)
        self.forward.moving.restore(statistics)
