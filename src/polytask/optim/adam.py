"""One step of Adam on a few scalars, some of which may rest."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


def adam_step(
    values: Float[Tensor, " size"],
    gradient: Float[Tensor, " size"],
    moments: Float[Tensor, "3 size"],
    active: Bool[Tensor, " size"],
    learning_rate: float,
    weight_decay: float = 0.0,
) -> tuple[Float[Tensor, " size"], Float[Tensor, "3 size"]]:
    """New values and new moments; for scalars with a rule of their own, whose state are buffers.

        g ← g + λ v,   m ← β₁ m + (1 - β₁) g,   s ← β₂ s + (1 - β₂) g²
        v ← v - η (m / (1 - β₁ᵗ)) / (√(s / (1 - β₂ᵗ)) + ε)

    with β = (0.9, 0.999), ε = 1e-8: one step of ``torch.optim.Adam``. Every entry counts its own
    steps t, so an entry that rests is as if the step had not happened. Pure, in the dtype of
    `values`; nothing is read back from the device.

    Args:
        values: v.
        gradient: g; ignored where `active` is False.
        moments: m, s and t, zero at the start.
        active: Entries that move.
        learning_rate: η > 0.
        weight_decay: λ ≥ 0, added to the gradient (not decoupled).

    Example:
        >>> values, moments = torch.zeros(2), torch.zeros(3, 2)
        >>> active = torch.tensor([True, False])
        >>> adam_step(values, torch.ones(2), moments, active, learning_rate=0.5)[0]
        tensor([-0.5000,  0.0000])

    Reference:
        Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 1,
        https://arxiv.org/abs/1412.6980
    """
    first, second, steps = moments
    one, two = _BETAS
    slope = gradient + weight_decay * values
    first = one * first + (1.0 - one) * slope
    second = two * second + (1.0 - two) * slope.square()
    steps = steps + 1.0
    length = learning_rate * first / (1.0 - one**steps)
    moved = values - length / ((second / (1.0 - two**steps)).sqrt() + _EPSILON)
    return (
        torch.where(active, moved, values),
        torch.where(active, torch.stack([first, second, steps]), moments),
    )
