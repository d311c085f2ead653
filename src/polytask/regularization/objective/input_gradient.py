"""Input-gradient penalty: a loss that changes little when the inputs do."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import positive


@final
class InputGradient:
    r"""Double back-propagation: penalises the gradient of the loss with respect to the inputs.

    :math:`\frac{\lambda}{2} \frac{1}{n} \sum_i \|\partial \ell_i / \partial x_i\|^2` over the
    n rows of an update, with :math:`\ell_i` the balanced loss of row i. The objective is the mean
    of the :math:`\ell_i`, so that :math:`\partial \ell_i / \partial x_i` is n times the gradient
    of the objective, and the penalty is :math:`\frac{\lambda n}{2}` times its squared norm.

    It is no `Penalty`: it acts on the function, not on weights, and has no proximal step.

    Args:
        strength: λ, positive; usual 0.01 to 0.1 on standardised inputs.

    Raises:
        InvalidArgument: If `strength` is not positive.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]], requires_grad=True)
        >>> objective = (3.0 * x).mean()
        >>> float(InputGradient(2.0).value(objective, [x], count=2))
        9.0

    Note:
        Costs a second backward pass. Batch normalisation couples the rows of a batch; the gradient
        with respect to a row then holds its influence on the losses of the others too.

    Reference:
        Drucker & LeCun, Improving Generalization Performance Using Double Backpropagation, IEEE
        Transactions on Neural Networks 3, 1992, section III.
    """

    def __init__(self, strength: float) -> None:
        positive("strength", strength)
        self.strength = strength

    def value(
        self, objective: Float[Tensor, ""], inputs: Sequence[Tensor], count: float
    ) -> Float[Tensor, ""]:
        """The penalty, connected to the graph.

        Args:
            objective: Mean loss over `count` rows, or the part of it of some of these rows.
            inputs: Leaves that require a gradient; those that the objective does not reach count 0.
            count: n, the number that the objective was divided by.
        """
        gradients = torch.autograd.grad(
            objective, list(inputs), create_graph=True, allow_unused=True
        )
        squares = [g.square().sum() for g in gradients if g is not None]
        total = torch.stack(squares).sum() if squares else objective.new_zeros(())
        return 0.5 * self.strength * count * total

    def describe(self) -> str:
        """The strength, in words."""
        return f"{self.strength:g} / 2 × mean squared gradient of the loss at the inputs"
