"""Dropout with few random numbers: on a CPU they are nearly all that it costs."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

_VALUES = 2**16


@final
class Dropout(nn.Dropout):
    """`torch.nn.Dropout` whose masks come from `dropout`.

    Args:
        p: Probability of dropping an entry, in [0, 1]; a schedule may move it.

    Example:
        >>> Dropout(0.1)
        Dropout(p=0.1, inplace=False)
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        """The same shape; what is kept is scaled. In evaluation the input itself."""
        return dropout(input, self.p) if self.training else input


def dropout(features: Tensor, p: float) -> Tensor:
    """Entries become 0 independently with probability p, and the others are divided by 1 − p.

    On a CPU an entry is kept if 16 random bits, read as a number, are among the first
    k = round(65536 (1 − p)): four entries per draw of 64 bits. The mask is therefore
    Bernoulli(k/65536), at most 1/131072 from what was asked for, and the scale is 65536/k, so that
    the expectation is exact. Draws come from torch's global generator, one after the other: they
    do not depend on the number of threads. On other devices, and where k would be 0 or 65536,
    this is torch's own.

    Args:
        features: Any shape and floating dtype.
        p: Probability of dropping an entry, in [0, 1].

    Example:
        >>> _ = torch.manual_seed(0)
        >>> dropout(torch.ones(6), 0.5).tolist()
        [2.0, 2.0, 0.0, 0.0, 2.0, 2.0]

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, Dropout: A Simple Way to Prevent
        Neural Networks from Overfitting, JMLR 15, 2014. https://jmlr.org/papers/v15/srivastava14a.html
    """
    kept = round(_VALUES * (1.0 - p))
    if features.device.type != "cpu" or not 0 < kept < _VALUES:
        return functional.dropout(features, p)
    entries = features.numel()
    # All 64 bits: of the range, only the largest number is never drawn.
    draws = torch.randint(-(2**63), 2**63 - 1, (-(-entries // 4),))
    numbers = draws.view(torch.int16)[:entries].view(features.shape)
    mask = (numbers < kept - _VALUES // 2).to(features.dtype).mul_(_VALUES / kept)
    return features * mask
