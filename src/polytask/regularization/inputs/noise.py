"""Input noise: numbers that are never quite the same twice."""

from typing import final

import torch
from torch import Tensor

from polytask._checks import positive
from polytask.data.batch import Batch

from .base import InputRegularizer, Mixing
from .parts import change_parts


@final
class InputNoise(InputRegularizer):
    """Adds normal noise to the numeric inputs; category codes stay as they are.

    x̃ = x + N(0, s²). For a linear model and the squared error this is a ridge penalty s²‖w‖².

    Args:
        deviation: s, positive, in standard deviations of the (standardised) columns; 0.01 to 0.1
            is usual.

    Raises:
        InvalidArgument: If `deviation` is not positive.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> batch = Batch(torch.zeros(10_000, 1), {}, {}, None, torch.arange(10_000))
        >>> noisy, _ = InputNoise(0.1)(batch)
        >>> round(float(noisy.inputs.std()), 2)
        0.1

    Reference:
        Bishop, Training with Noise is Equivalent to Tikhonov Regularization, Neural Computation 7,
        1995. https://doi.org/10.1162/neco.1995.7.1.108
    """

    def __init__(self, deviation: float = 0.05) -> None:
        positive("deviation", deviation)
        self.deviation = deviation

    def __call__(self, batch: Batch) -> tuple[Batch, Mixing | None]:
        """The batch with noise."""
        return batch._replace(inputs=change_parts(batch.inputs, self._noisy)), None

    def describe(self) -> str:
        """The deviation, in words."""
        return f"normal noise of deviation {self.deviation:g} on the inputs"

    def _noisy(self, part: Tensor) -> Tensor:
        if not part.is_floating_point():
            return part
        return part.add(torch.randn_like(part), alpha=self.deviation)
