"""Mixup: every row becomes a mean of two rows."""

from typing import ClassVar, final

import torch

from polytask._checks import at_least
from polytask.data.batch import Batch

from .base import InputRegularizer, Mixing
from .parts import draw_share, first_part, mix_parts

SMALLEST_ALPHA = 0.01
"""Below it a Beta draw is 0 or 1 up to rounding, and the generator's numbers underflow."""


@final
class Mixup(InputRegularizer):
    """Mixes every row with a random other one, and their losses in the same proportion.

    x̃_i = l x_i + (1 − l) x_j, loss l L(f(x̃_i), y_i) + (1 − l) L(f(x̃_i), y_j), with one
    l ~ Beta(a, a) and one random permutation i → j per batch, for all tasks. Category codes have
    no mean: each is the partner's with probability 1 − l.

    Args:
        alpha: a, at least 0.01. Small values leave most batches nearly unmixed; 1 draws l
            uniformly.

    Raises:
        InvalidArgument: If `alpha` is out of range.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> rows = torch.arange(4)
        >>> batch = Batch(torch.eye(4), {}, {}, None, rows)
        >>> mixed, mixing = Mixup(alpha=1.0)(batch)
        >>> bool((mixed.inputs.sum(1) - 1).abs().max() < 1e-6), mixing.partner.tolist()
        (True, [1, 0, 3, 2])

    Note:
        A batch of one row is left alone.

    Reference:
        Zhang, Cissé, Dauphin & Lopez-Paz, mixup: Beyond Empirical Risk Minimization, ICLR 2018.
        https://arxiv.org/abs/1710.09412
    """

    mixes: ClassVar[bool] = True

    def __init__(self, alpha: float = 0.2) -> None:
        at_least("alpha", alpha, SMALLEST_ALPHA)
        self.alpha = alpha
        self._concentration = torch.full((2,), alpha, dtype=torch.float64)

    def __call__(self, batch: Batch) -> tuple[Batch, Mixing | None]:
        """The mixed rows, their partners and the share."""
        part = first_part(batch.inputs)
        rows = len(part)
        if rows < 2:
            return batch, None
        share = draw_share(self._concentration)
        partner = torch.randperm(rows, device=part.device)
        mixed = mix_parts(batch.inputs, partner, share)
        return batch._replace(inputs=mixed), Mixing(partner, share)

    def describe(self) -> str:
        """The distribution of l, in words."""
        return f"mixup, shares from Beta({self.alpha:g}, {self.alpha:g})"
