"""Losses that change little with the inputs (double backpropagation)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least, require


@final
@dataclass(frozen=True)
class InputGradient:
    """(λ/2) (1/n) Σ_i ‖∂ℓ_i/∂x_i‖²: the loss of a row changes little when its inputs do.

    ℓ_i is the loss of row i, summed over tasks, x_i its inputs, n the rows. The objective that is
    minimised holds ℓ_i/n, hence the value is computed as (λ n/2) Σ_i ‖∂objective/∂x_i‖². It is no
    penalty on weights: a second backward pass goes through the first.

    Args:
        strength: λ, at least 0.

    Raises:
        InvalidArgument: If `strength` is negative.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]], requires_grad=True)
        >>> objective = (3 * x).sum() / 2
        >>> InputGradient(2.0).value(objective, [x], 2).item()
        9.0

    Note:
        BatchNorm in training mode lets a row's loss depend on the other rows: the derivative by
        x_i then holds their share too. Modules without second derivatives (some fused attention
        and recurrent kernels) raise.

    Reference:
        Drucker & Le Cun, Improving Generalization Performance Using Double Backpropagation, IEEE
        Transactions on Neural Networks, 1992. https://doi.org/10.1109/72.165600
    """

    strength: float

    name: ClassVar[str] = "InputGradient"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(
        self, objective: Float[Tensor, ""], inputs: Sequence[Tensor], count: Tensor | float
    ) -> Float[Tensor, ""]:
        """The penalty with its graph; add it to the objective before backward.

        Args:
            objective: (1/n) Σ ℓ_i, with its graph.
            inputs: The floating tensors of the batch, set to require gradients before the forward
                pass; one that the model did not use counts as 0.
            count: n, by which the objective was divided. If tasks miss labels and each was
                divided by its own count, the rows of the batch.

        Raises:
            InvalidArgument: If there are no inputs, or one of them needs no gradient.
        """
        require(
            len(inputs) > 0 and all(tensor.requires_grad for tensor in inputs),
            "inputs",
            "hold tensors that require gradients, and at least one",
            [tensor.requires_grad for tensor in inputs],
            "Call requires_grad_() on the floating inputs before the forward pass.",
        )
        gradients = torch.autograd.grad(
            objective, list(inputs), create_graph=True, allow_unused=True, materialize_grads=True
        )
        square = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        result: Tensor = self.strength / 2 * count * square
        return result

    def describe(self) -> str:
        """In words, with λ."""
        return f"input gradient: ({self.strength:g}/2) mean of ‖∂loss/∂inputs‖² over rows"
