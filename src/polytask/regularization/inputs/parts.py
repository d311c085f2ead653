"""Numbers and category codes: the two kinds of inputs, and how each is mixed."""

from collections.abc import Callable

import torch
from torch import Tensor

from polytask.data.batch import Inputs


def change_parts(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Applies a function to every tensor of the inputs and keeps their form.

    Args:
        inputs: A tensor, or a mapping of tensors.
        change: Tensor → tensor of the same shape.

    Example:
        >>> change_parts({"numeric": torch.ones(2)}, lambda part: part + 1)
        {'numeric': tensor([2., 2.])}
    """
    if isinstance(inputs, Tensor):
        return change(inputs)
    return {name: change(part) for name, part in inputs.items()}


def mix_parts(inputs: Inputs, partner: Tensor, share: float) -> Inputs:
    """Every row with a share of its partner's row.

    Numbers: l·x_i + (1 − l)·x_j. Codes have no mean: each is the partner's with probability 1 − l.

    Args:
        inputs: A tensor, or a mapping of tensors, rows first.
        partner: j of every row i, ``[rows]``.
        share: l, in [0, 1].

    Example:
        >>> mix_parts(torch.tensor([[0.0], [4.0]]), torch.tensor([1, 0]), 0.75).flatten().tolist()
        [1.0, 3.0]
    """

    def mixed(part: Tensor) -> Tensor:
        other = part.index_select(0, partner)
        if part.is_floating_point():
            return other.lerp_(part, share)
        return torch.where(torch.rand(part.shape, device=part.device) < share, part, other)

    return change_parts(inputs, mixed)


def draw_share(concentration: Tensor) -> float:
    """One l ~ Beta(a, a), drawn from torch's global generator.

    Args:
        concentration: (a, a), in double precision: small a underflow in single precision.

    Example:
        >>> 0.0 <= draw_share(torch.full((2,), 0.2, dtype=torch.float64)) <= 1.0
        True
    """
    # Never 0: a gamma draw is at least the smallest normal number.
    first, second = torch._standard_gamma(concentration).tolist()
    share: float = first / (first + second)
    return share


def first_part(inputs: Inputs) -> Tensor:
    """One tensor of the inputs: it tells the number of rows and the device."""
    return inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
