"""Logarithms of losses, for methods that are defined on positive losses only."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def positive_logarithms(
    losses: Float[Tensor, " tasks"], present: Bool[Tensor, " tasks"]
) -> tuple[Float[Tensor, " tasks"], Bool[Tensor, " tasks"]]:
    """Log L_k, and which tasks have one; nothing is read back from the device.

    A loss of exactly zero (or below the smallest normal number) belongs to a solved task: there is
    nothing to descend, and its logarithm would drown all others, so it is left out like an absent
    task. A negative loss has no logarithm: it becomes NaN in value and gradient, so that the update
    is seen to fail.

    Args:
        losses: Zero for absent tasks.
        present: Tasks with labels in this update.

    Returns:
        Logarithms (0 for tasks that are left out), and the tasks that take part.

    Example:
        >>> losses, present = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([True, True, False])
        >>> positive_logarithms(losses, present)
        (tensor([0., 0., 0.]), tensor([ True, False, False]))
    """
    solved = (losses >= 0.0) & (losses < torch.finfo(losses.dtype).tiny)
    kept = present & ~solved
    undefined = torch.where(losses < 0.0, torch.nan, 1.0)
    return torch.where(kept, losses, 1.0).log() * undefined.to(losses), kept
