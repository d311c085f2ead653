"""Gradient noise that fades during the run."""

from collections.abc import Sequence
from typing import final

import torch
from torch import nn

from polytask._checks import at_least, positive


@final
class GradientNoise:
    """Adds normal noise to the gradient, less and less of it.

    g ← g + N(0, σ_t²),  σ_t² = ν / (1 + t)^γ,  with t the updates done before this one.

    The noise is added after clipping: clipped noise would no longer have this variance.

    Args:
        variance: ν, positive; the paper chooses among 0.01, 0.3 and 1.
        decay: γ, at least 0; the paper's value is 0.55.

    Raises:
        InvalidArgument: If a value breaks its rule.

    Example:
        >>> weight = nn.Parameter(torch.zeros(20_000))
        >>> weight.grad = torch.zeros(20_000)
        >>> _ = torch.manual_seed(0)
        >>> GradientNoise(variance=1.0).add_([weight], updates=15)
        >>> round(float(weight.grad.var()), 2), round(16**-0.55, 2)
        (0.22, 0.22)

    Reference:
        Neelakantan et al., Adding Gradient Noise Improves Learning for Very Deep Networks, 2015,
        equation 1. https://arxiv.org/abs/1511.06807
    """

    def __init__(self, variance: float, decay: float = 0.55) -> None:
        positive("variance", variance)
        at_least("decay", decay, 0)
        self.variance = variance
        self.decay = decay

    @torch.no_grad()
    def add_(self, parameters: Sequence[nn.Parameter], updates: int) -> None:
        """Adds the noise to every gradient; draws from torch's global generator.

        Args:
            parameters: All parameters of the update; those without a gradient get none.
            updates: Updates done before this one.
        """
        deviation = (self.variance / (1 + updates) ** self.decay) ** 0.5
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.add_(torch.randn_like(parameter.grad), alpha=deviation)

    def describe(self) -> str:
        """Variance and its decay, in words."""
        return f"variance {self.variance:g} at the start, falling with (1 + t)^-{self.decay:g}"
