"""C-Mixup: mixup for regression, with partners whose targets are near."""

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polytask._checks import at_least, positive, require
from polytask.data.batch import Batch

from .base import InputRegularizer, Mixing
from .mixup import SMALLEST_ALPHA
from .parts import draw_share, first_part, mix_parts


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
        """The mixed rows, their partners and the share."""
        targets, mask = self._compared(batch)
        part = first_part(batch.inputs)
        rows = len(part)
        if rows < 2:
            return batch, None
        share = draw_share(self._concentration)
        partner = _near_partners(targets / (2.0**0.5 * self.bandwidth), mask)
        mixed = mix_parts(batch.inputs, partner, share)
        return batch._replace(inputs=mixed), Mixing(partner, share)

    def describe(self) -> str:
        """Bandwidth and the distribution of l, in words."""
        return (
            f"mixup of rows with near targets, bandwidth {self.bandwidth:g}, "
            f"shares from Beta({self.alpha:g}, {self.alpha:g})"
        )

    def _compared(
        self, batch: Batch
    ) -> tuple[Float[Tensor, "rows tasks"], Bool[Tensor, "rows tasks"]]:
        """Targets of all groups, zero in the gaps, and where they exist."""
        for name in self.groups:
            require(name in batch.targets, "groups", f"be among {sorted(batch.targets)}", name)
            target = batch.targets[name]
            require(
                target.ndim == 2 and target.is_floating_point(),
                "groups",
                "have numeric targets of shape [rows, k]",
                name,
            )
        mask = torch.cat([batch.masks[name] for name in self.groups], 1)
        targets = torch.cat([batch.targets[name] for name in self.groups], 1)
        return torch.where(mask, targets, 0.0), mask


def _near_partners(
    points: Float[Tensor, "rows tasks"], mask: Bool[Tensor, "rows tasks"]
) -> Int[Tensor, " rows"]:
    """One j ≠ i per row i, with probability ∝ exp(−Σ_t m_it m_jt (p_it − p_jt)²).

    The squares come from one product, |p_i|² + |p_j|² − 2 p_i·p_j on the common tasks, in double
    precision because they cancel; draws invert the distribution function of each row.
    """
    rows = len(points)
    value, known = points.double(), mask.double()
    squares = value.square()
    left = torch.cat([squares, known, value], 1)
    right = torch.cat([-known, -squares, 2.0 * value], 1)
    # The bound keeps a row apart from all others from having no finite score.
    scores = (left @ right.T).float().clamp_min_(-1e30)
    common = known.float() @ known.float().T
    common.fill_diagonal_(0.0)
    cumulated = torch.softmax(scores.masked_fill_(common == 0, -torch.inf), 1).cumsum(1)
    heights = cumulated[:, -1:] * torch.rand(rows, 1, device=points.device)
    # Right of all equal heights: a partner whose probability is zero is never met.
    near = torch.searchsorted(cumulated, heights, right=True).squeeze(1)
    others = torch.randint(1, rows, (rows,), device=points.device)
    anybody = (torch.arange(rows, device=points.device) + others) % rows
    return torch.where(common.any(1), near, anybody)
