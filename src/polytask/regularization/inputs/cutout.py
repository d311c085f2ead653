"""Cutout for tables: a fixed share of the columns of every row is blank."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from polytask._checks import require
from polytask.data.batch import Batch, Inputs

from .base import InputRegularizer, Mixing
from .columns import checked_blocks, original_columns
from .parts import first_part

_UNSEEN = 1


@final
class Cutout(InputRegularizer):
    """Blanks a random subset of the columns of every row, in some of the batches.

    With the given probability a batch is changed: of its n original columns every row draws
    m = round(share · n) of its own, at least one and never all, without replacement. Numbers in
    them become 0, the centre of scaled inputs, and category codes that of a level which training
    rows did not have. Nothing is rescaled, and labels stay.

    Feature dropout differs in all of this: it drops every column on its own, so that the number of
    dropped ones varies, it divides the rest by what is kept, and it changes every batch.

    Args:
        probability: How many of the batches are changed, in (0, 1].
        share: Of the columns that are blanked, in (0, 1).
        blocks: Groups of indices of numeric columns that encode one original column (the parts of
            a date, a value and its missing mark): they go together and count as one column.
            Indices that are named nowhere are columns of their own, as all category columns are.

    Raises:
        InvalidArgument: If `probability` or `share` is out of range, a block is empty, an index is
            negative or occurs twice, or a batch has fewer numeric columns than a block names.

    Shapes:
        inputs: ``[rows, columns, …]`` or a mapping of such tensors; `blocks` are columns of the
            tensor, or of ``"numeric"``. Further axes go with their column.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> batch = Batch(torch.ones(3, 5), {}, {}, None, torch.arange(3))
        >>> Cutout(1.0, share=0.4)(batch)[0].inputs.sum(1)
        tensor([3., 3., 3.])

    Note:
        A table of one column is left alone. The experiments on tables blanked the same columns in
        all rows of a batch; here every row has its own, as every image has in the first paper.

    Reference:
        DeVries & Taylor, Improved Regularization of Convolutional Neural Networks with Cutout,
        2017, https://arxiv.org/abs/1708.04552; on tables, with both numbers 0.2, as in Kadra,
        Lindauer, Hutter & Grabocka, Well-tuned Simple Nets Excel on Tabular Datasets, NeurIPS 2021.
        https://arxiv.org/abs/2106.11189
    """

    def __init__(
        self, probability: float = 0.2, share: float = 0.2, blocks: Sequence[Sequence[int]] = ()
    ) -> None:
        require(0 < probability <= 1, "probability", "be above 0 and at most 1", probability)
        require(0 < share < 1, "share", "be above 0 and below 1", share)
        self.probability = probability
        self.share = share
        self.blocks = checked_blocks(blocks)

    def __call__(self, batch: Batch) -> tuple[Batch, Mixing | None]:
        """The rows without some of their columns, or the batch itself."""
        if float(torch.rand(())) >= self.probability:
            return batch, None
        columns = original_columns(batch.inputs, self.blocks)
        count = min(max(1, round(self.share * len(columns))), len(columns) - 1)
        rows = first_part(batch.inputs)
        # A row of sorting positions is a random permutation: m of its places hold less than m.
        order = torch.rand(len(rows), len(columns), device=rows.device).argsort(1)
        return batch._replace(inputs=_blanked(batch.inputs, columns, order < count)), None

    def describe(self) -> str:
        """How much is blanked how often, in words."""
        return (
            f"{self.share:.0%} of the columns of every row blank, "
            f"in {self.probability:.0%} of the batches"
        )


def _blanked(inputs: Inputs, columns: list[tuple[str, Sequence[int]]], marked: Tensor) -> Inputs:
    """The inputs without the marked cells of the original columns ``[rows, columns]``."""
    parts = {"numeric": inputs} if isinstance(inputs, Tensor) else dict(inputs)
    for name, part in parts.items():
        owner = [0] * part.shape[1]
        for number, (place, block) in enumerate(columns):
            for column in block if place == name else ():
                owner[column] = number
        blank = marked[:, torch.tensor(owner, dtype=torch.int64, device=marked.device)]
        blank = blank.view(*blank.shape, *(1,) * (part.ndim - 2))
        codes = not part.is_floating_point() and part.dtype != torch.bool
        parts[name] = torch.where(blank, part.new_full((), _UNSEEN if codes else 0), part)
    return parts["numeric"] if isinstance(inputs, Tensor) else parts
