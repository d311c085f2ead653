"""Adversarial training: rows moved a little to where their loss is higher."""

from typing import final

import torch
from torch import Tensor

from polytask._checks import positive, require
from polytask.data.batch import Inputs

from .parts import change_parts


@final
class Adversarial:
    """Trains on every row twice: as it is, and moved to where the objective rises fastest.

    The objective J of the tasks becomes

        α J(x) + (1 − α) J(x + ε sign ∂J/∂x)

    with the moved inputs held constant and the weights of the tasks those of J(x). To first order
    no other x̃ with all |x̃_i − x_i| ≤ ε has a higher J. Category codes have no direction and stay;
    one-hot columns and indicators of missing values are numbers and move too. The second pass must
    see the same dropout masks, and running statistics must move once; polytask's step takes care
    of both.

    Args:
        epsilon: ε, positive, in standard deviations of the (scaled) columns.
        share: α, the part of the rows as they are, above 0 and below 1; the paper's is 0.5.

    Raises:
        InvalidArgument: If a value breaks its rule.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> (x @ torch.tensor([3.0, -0.1])).sum().backward()
        >>> Adversarial(0.5).moved(x)
        tensor([[1.5000, 1.5000]])

    Note:
        Costs a second forward and backward pass per update.

    Reference:
        Goodfellow, Shlens & Szegedy, Explaining and Harnessing Adversarial Examples, ICLR 2015,
        sections 4 and 6. https://arxiv.org/abs/1412.6572
    """

    def __init__(self, epsilon: float = 0.05, share: float = 0.5) -> None:
        positive("epsilon", epsilon)
        require(0 < share < 1, "share", "be above 0 and below 1", share)
        self.epsilon = epsilon
        self.share = share

    @torch.no_grad()
    def moved(self, inputs: Inputs) -> Inputs:
        """The inputs after their step, as constants.

        Args:
            inputs: A tensor, or a mapping of tensors, after the backward pass of αJ(x); floating
                ones are leaves that required gradients. A part that J does not use stays.

        Raises:
            InvalidArgument: If there are no numbers that required gradients.
        """
        parts = [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
        require(
            any(part.requires_grad and part.numel() > 0 for part in parts),
            "inputs",
            "hold numbers that require gradients, for adversarial training to move",
            [str(part.dtype) for part in parts],
            "Codes cannot be moved: a table without numbers has no adversarial rows. In a loop of "
            "your own, call requires_grad_() on the inputs before the forward pass.",
        )
        return change_parts(inputs, self._step)

    def describe(self) -> str:
        """ε and α, in words."""
        return (
            f"{1 - self.share:.0%} of the loss on inputs moved by {self.epsilon:g} against the "
            "model; twice the passes"
        )

    def _step(self, part: Tensor) -> Tensor:
        if part.grad is None:
            return part.detach()
        return part.detach().add(part.grad.sign(), alpha=self.epsilon)
