"""Feature dropout: a model that may not lean on any single column."""

from typing import final

import torch
from torch import Tensor

from polytask._checks import require
from polytask.data.batch import Batch

from .base import InputRegularizer, Mixing
from .parts import change_parts

_MISSING = 0


@final
class FeatureDropout(InputRegularizer):
    """Drops whole input features, with another mask for every row.

    x̃_f = m_f x_f / (1 − p) with m_f ~ Bernoulli(1 − p) for numbers; a dropped category becomes
    the code of a missing value.

    Args:
        probability: p, in (0, 1); 0.05 to 0.2 is usual.

    Raises:
        InvalidArgument: If `probability` is out of range.

    Shapes:
        inputs: ``[rows, features, …]``: further axes are dropped with their feature.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> batch = Batch(torch.ones(3, 4), {}, {}, None, torch.arange(3))
        >>> sorted(set(FeatureDropout(0.5)(batch)[0].inputs.flatten().tolist()))
        [0.0, 2.0]

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, Dropout: A Simple Way to Prevent
        Neural Networks from Overfitting, JMLR 15, 2014, on the visible units.
        https://jmlr.org/papers/v15/srivastava14a.html
    """

    def __init__(self, probability: float = 0.1) -> None:
        require(0 < probability < 1, "probability", "be above 0 and below 1", probability)
        self.probability = probability

    def __call__(self, batch: Batch) -> tuple[Batch, Mixing | None]:
        """The batch without some of its features."""
        return batch._replace(inputs=change_parts(batch.inputs, self._dropped)), None

    def describe(self) -> str:
        """The probability, in words."""
        return f"every input feature of a row dropped with probability {self.probability:g}"

    def _dropped(self, part: Tensor) -> Tensor:
        shape = part.shape[:2] + (1,) * (part.ndim - 2)
        kept = torch.rand(shape, device=part.device) >= self.probability
        if not part.is_floating_point():
            return torch.where(kept, part, _MISSING)
        return part * (kept.to(part.dtype) / (1.0 - self.probability))
