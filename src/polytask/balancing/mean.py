"""The weighted mean of the losses that are there: what every fixed weighting comes down to."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def weighted_mean(
    losses: Float[Tensor, " tasks"],
    weights: Float[Tensor, " tasks"],
    present: Bool[Tensor, " tasks"],
) -> Float[Tensor, ""]:
    """Σ_k w_k L_k / Σ_k w_k over the present tasks; zero if their weights sum to zero.

    It never reads a value back from the device.

    Args:
        losses: Losses; those of absent tasks are finite.
        weights: Weights of at least 0.
        present: Tasks with labels in this update.
    """
    weights = torch.where(present, weights.to(losses), 0.0)
    total = weights.sum()
    return ((weights / torch.where(total > 0, total, 1.0)) * losses).sum()
