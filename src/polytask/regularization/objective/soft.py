"""The soft threshold on many blocks at once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .scratch import Scratch


def soft_threshold_(
    blocks: Sequence[Tensor],
    steps: Sequence[Tensor | float],
    strength: float,
    scratch: Scratch | None = None,
) -> None:
    """Every entry u becomes sign(u) · max(|u| − t λ, 0), in place, with exact zeros.

    Args:
        blocks: Matrices u.
        steps: t per block, a number or a tensor of its shape.
        strength: λ, at least 0.
        scratch: Memory of earlier calls.
    """
    scratch = scratch or Scratch()
    many = list(blocks)
    if many and many[0].device.type != "cpu" and all(isinstance(t, Tensor) for t in steps):
        # What is left of u: the point of [u − λt, u + λt] that is nearest to 0.
        metrics = [t for t in steps if isinstance(t, Tensor)]
        nearest = list(torch._foreach_sub(many, metrics, alpha=strength))
        torch._foreach_clamp_min_(nearest, 0.0)
        torch._foreach_minimum_(nearest, torch._foreach_add(many, metrics, alpha=strength))
        torch._foreach_copy_(many, nearest)
        return
    for u, t in zip(many, steps, strict=True):
        if isinstance(t, Tensor):
            low = torch.sub(u, t, alpha=strength, out=scratch.like(u))
            high = torch.add(u, t, alpha=strength, out=scratch.like(u, 1))
            torch.clamp(scratch.number(0.0, u), low, high, out=u)
        else:
            functional.softshrink(u, strength * t, out=u)  # type: ignore[call-arg]  # torch's stub lacks it


def shrink_(
    blocks: Sequence[Tensor],
    steps: Sequence[Tensor | float],
    strength: float,
    scratch: Scratch | None = None,
) -> None:
    """Every entry u becomes u / (1 + t λ), in place.

    Args:
        blocks: Matrices u.
        steps: t per block, a number or a tensor of its shape.
        strength: λ, at least 0.
        scratch: Memory of earlier calls.
    """
    scratch = scratch or Scratch()
    for u, t in zip(blocks, steps, strict=True):
        if isinstance(t, Tensor):
            u.div_(torch.add(scratch.number(1.0, u), t, alpha=strength, out=scratch.like(u)))
        else:
            u.div_(1 + strength * t)


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
