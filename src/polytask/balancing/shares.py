"""Shares of the present tasks: a softmax without the absent ones."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def softmax_shares(
    scores: Float[Tensor, " tasks"], present: Bool[Tensor, " tasks"]
) -> Float[Tensor, " tasks"]:
    """exp(x_k) / Σ_j exp(x_j) over the present tasks; 0 for the others, also if nobody is present.

    Args:
        scores: x.
        present: Tasks that take part.

    Example:
        >>> softmax_shares(torch.zeros(3), torch.tensor([True, True, False]))
        tensor([0.5000, 0.5000, 0.0000])
    """
    softmax = torch.where(present, scores, -torch.inf).softmax(0)
    return torch.where(present, softmax, 0.0)
