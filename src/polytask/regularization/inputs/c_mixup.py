"""C-Mixup: mixup for regression, with partners whose targets are near."""

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polytask._checks import at_least, positive, require
from polytask.data.batch import Batch

from .base import InputRegularizer, Mixing
from .mixup import SMALLEST_ALPHA
from .parts import first_part, mix_parts


@final
class CMixup(InputRegularizer):
    """Mixes every row with another whose numeric targets are similar.

    Row i gets partner j ≠ i with probability proportional to exp(−d_ij² / (2 s²)), where d_ij² is
    the sum over the tasks that both rows have labels for of (y_i − y_j)², on standardised targets.
    Rows and losses are then mixed as in `Mixup`: one l ~ Beta(a, a) per batch. The mean of two
    distant rows seldom has the mean of their targets; of near ones it nearly has.

    Args:
        alpha: a, at least 0.01; the paper uses 2.
        bandwidth: s, positive, in standard deviations of the targets. The paper tunes it per data
            set, between 0.05 and 20.
        groups: Names of the task groups whose targets are compared: groups of regression tasks.

    Raises:
        InvalidArgument: If a number is out of range, `groups` is empty, or a batch has no such
            group or one without numeric targets ``[rows, k]``.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> y = torch.tensor([[-1.0], [1.0], [-1.1], [1.1]])
        >>> known = torch.ones(4, 1, dtype=torch.bool)
        >>> batch = Batch(y.clone(), {"y": y}, {"y": known}, None, torch.arange(4))
        >>> _, mixing = CMixup(bandwidth=0.1, groups=["y"])(batch)
        >>> mixing.partner.tolist()
        [2, 3, 0, 1]

    Note:
        Pairs without a common label are not chosen; a row that shares a label with no other row
        draws its partner uniformly. A batch of one row is left alone. Time and memory are
        quadratic in the rows of a batch.

    Reference:
        Yao et al., C-Mixup: Improving Generalization in Regression, NeurIPS 2022, equation 6.
        https://arxiv.org/abs/2210.05775
    """

    mixes: ClassVar[bool] = True

    def __init__(
        self, alpha: float = 2.0, bandwidth: float = 1.0, groups: Sequence[str] = ()
    ) -> None:
        at_least("alpha", alpha, SMALLEST_ALPHA)
        positive("bandwidth", bandwidth)
        require(
            len(groups) > 0 and not isinstance(groups, str),
            "groups",
            "name at least one group of regression tasks",
            groups,
            "Use Mixup where no task is a regression.",
        )
        self.alpha = alpha
        self.bandwidth = bandwidth
        self.groups = tuple(groups)
        self._concentration = torch.full((2,), alpha, dtype=torch.float64)

    def __call__(self, batch: Batch) -> tuple[Batch, Mixing | None]:
        """The mixed rows, their partners and shares."""
        squared, common = self._distances(batch)
        part = first_part(batch.inputs)
        rows = len(part)
        if rows < 2:
            return batch, None
        share = float(torch._sample_dirichlet(self._concentration)[0])
        partner = _near_partners(squared / (2.0 * self.bandwidth**2), common)
        shares = torch.full((rows,), share, device=part.device)
        mixed = mix_parts(batch.inputs, partner, share)
        return batch._replace(inputs=mixed), Mixing(partner, shares)

    def describe(self) -> str:
        """Bandwidth and the distribution of l, in words."""
        return (
            f"mixup of rows with near targets, bandwidth {self.bandwidth:g}, "
            f"shares from Beta({self.alpha:g}, {self.alpha:g})"
        )

    def _distances(self, batch: Batch) -> tuple[Float[Tensor, "rows rows"], Tensor]:
        """d², and how many tasks two rows have in common."""
        values, masks = [], []
        for name in self.groups:
            require(name in batch.targets, "groups", f"be among {sorted(batch.targets)}", name)
            target = batch.targets[name]
            require(
                target.ndim == 2 and target.is_floating_point(),
                "groups",
                "have numeric targets of shape [rows, k]",
                name,
            )
            values.append(target)
            masks.append(batch.masks[name])
        mask = torch.cat(masks, 1)
        # In double precision, and from zeros in the gaps: |y_i|² + |y_j|² − 2 y_i·y_j on common
        # tasks is three products instead of a tensor [rows, rows, tasks].
        value = torch.where(mask, torch.cat(values, 1), 0.0).double()
        known = mask.double()
        squares = value.square() @ known.T
        return (squares + squares.T - 2.0 * value @ value.T).clamp_min_(0.0), known @ known.T


def _near_partners(
    energies: Float[Tensor, "rows rows"], common: Float[Tensor, "rows rows"]
) -> Int[Tensor, " rows"]:
    """One j ≠ i per row i, with probability ∝ exp(−energy) among the rows with a common task."""
    itself = torch.eye(len(energies), dtype=torch.bool, device=energies.device)
    allowed = (common > 0) & ~itself
    alone = ~allowed.any(1, keepdim=True)
    energies = torch.where(alone, 0.0, energies)
    scores = (-energies).masked_fill_(~(allowed | alone) | itself, -torch.inf)
    return torch.multinomial(torch.softmax(scores, 1), 1).squeeze(1)
