"""The soft threshold on many blocks at once."""

from collections.abc import Sequence

import torch
from torch import Tensor


def soft_threshold_(
    blocks: Sequence[Tensor], steps: Sequence[Tensor | float], strength: float
) -> None:
    """Every entry u becomes sign(u) · max(|u| − t λ, 0), in place, with exact zeros.

    Args:
        blocks: Matrices u.
        steps: t per block, a number or a tensor of its shape.
        strength: λ, at least 0.
    """
    many = list(blocks)
    tensors = [step for step in steps if isinstance(step, Tensor)]
    numbers = [step * strength for step in steps if not isinstance(step, Tensor)]
    # u minus its projection on [−λt, λt].
    if len(tensors) == len(many):
        upper = list(torch._foreach_mul(tensors, strength))
        inside = list(torch._foreach_minimum(many, upper))
        torch._foreach_neg_(upper)
        torch._foreach_maximum_(inside, upper)
    elif len(numbers) == len(many):
        inside = list(torch._foreach_clamp_max(many, numbers))
        torch._foreach_clamp_min_(inside, [-number for number in numbers])
    else:
        for block, step in zip(many, steps, strict=True):
            soft_threshold_([block], [step], strength)
        return
    torch._foreach_sub_(many, inside)


def shrink_(blocks: Sequence[Tensor], steps: Sequence[Tensor | float], strength: float) -> None:
    """Every entry u becomes u / (1 + t λ), in place.

    Args:
        blocks: Matrices u.
        steps: t per block, a number or a tensor of its shape.
        strength: λ, at least 0.
    """
    for block, step in zip(blocks, steps, strict=True):
        block.div_(1 + step * strength)


def total(values: Sequence[Tensor]) -> Tensor:
    """The sum of scalars on their device; of at least one.

    Example:
        >>> float(total([torch.tensor(1.0), torch.tensor(2.0)]))
        3.0
    """
    result = values[0]
    for value in values[1:]:
        result = result + value.to(result.device)
    return result
