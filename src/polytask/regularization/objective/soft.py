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
    upper = [step * strength for step in steps]
    limits = [cut for cut in upper if isinstance(cut, Tensor)]
    if len(limits) == len(many):
        # u minus its projection on [−λt, λt].
        if many and many[0].device.type == "cpu":
            inside = [torch.clamp(u, -cut, cut) for u, cut in zip(many, limits, strict=True)]
        else:
            inside = list(torch._foreach_minimum(many, limits))
            torch._foreach_neg_(limits)
            torch._foreach_maximum_(inside, limits)
        torch._foreach_sub_(many, inside)
        return
    for u, limit in zip(many, upper, strict=True):
        if isinstance(limit, Tensor):
            u.sub_(torch.clamp(u, -limit, limit))
        else:
            u.sub_(u.clamp(-limit, limit))


def shrink_(blocks: Sequence[Tensor], steps: Sequence[Tensor | float], strength: float) -> None:
    """Every entry u becomes u / (1 + t λ), in place.

    Args:
        blocks: Matrices u.
        steps: t per block, a number or a tensor of its shape.
        strength: λ, at least 0.
    """
    for block, step in zip(blocks, steps, strict=True):
        scaled = step * strength
        block.div_(scaled.add_(1) if isinstance(scaled, Tensor) else 1 + scaled)


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
