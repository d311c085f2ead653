"""CutMix for tables: some columns of every row come from another row."""

from collections.abc import Sequence
from typing import ClassVar, final

import torch
from torch import Tensor

from polytask._checks import require
from polytask.data.batch import Batch, Inputs

from .base import InputRegularizer, Mixing
from .columns import checked_blocks, original_columns
from .parts import first_part


@final
class CutMix(InputRegularizer):
    """Copies a random subset of columns from another row, and mixes the losses in proportion.

    With the given probability a batch is changed: u ~ Beta(1, 1), m = round(u n) of its n original
    columns are drawn, one random permutation i → j, and these columns of row i become those of row
    j. The share of the row's own label is 1 − m/n.

    Args:
        probability: How many of the batches are changed, in (0, 1].
        blocks: Groups of indices of numeric columns that encode one original column (the parts of
            a date, a value and its missing mark): they move together and count as one column.
            Indices that are named nowhere are columns of their own, as all category columns are.

    Raises:
        InvalidArgument: If `probability` is out of range, a block is empty, an index is negative
            or occurs twice, or a batch has fewer numeric columns than a block names.

    Shapes:
        inputs: ``[rows, columns]`` or a mapping of such tensors; `blocks` are columns of the
            tensor, or of ``"numeric"``. Further axes move with their column.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> numbers = torch.arange(3.0).unsqueeze(1).expand(3, 4)
        >>> batch = Batch(numbers, {}, {}, None, torch.arange(3))
        >>> mixed, mixing = CutMix(1.0, blocks=[(0, 1)])(batch)
        >>> bool((mixed.inputs[:, 0] == mixed.inputs[:, 1]).all())
        True

    Note:
        A batch of one row is left alone.

    Reference:
        Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
        Features, ICCV 2019, https://arxiv.org/abs/1905.04899; on tables as in Kadra, Lindauer,
        Hutter & Grabocka, Well-tuned Simple Nets Excel on Tabular Datasets, NeurIPS 2021.
        https://arxiv.org/abs/2106.11189
    """

    mixes: ClassVar[bool] = True

    def __init__(self, probability: float = 0.2, blocks: Sequence[Sequence[int]] = ()) -> None:
        require(0 < probability <= 1, "probability", "be above 0 and at most 1", probability)
        self.probability = probability
        self.blocks = checked_blocks(blocks)

    def __call__(self, batch: Batch) -> tuple[Batch, Mixing | None]:
        """The rows with columns of their partners, or the batch itself."""
        part = first_part(batch.inputs)
        rows = len(part)
        if rows < 2 or float(torch.rand(())) >= self.probability:
            return batch, None
        columns = original_columns(batch.inputs, self.blocks)
        copied = round(float(torch.rand(())) * len(columns))
        partner = torch.randperm(rows, device=part.device)
        taken: dict[str, list[int]] = {}
        for choice in torch.randperm(len(columns))[:copied].tolist():
            name, block = columns[choice]
            taken.setdefault(name, []).extend(block)
        inputs = _copied(batch.inputs, partner, taken)
        return batch._replace(inputs=inputs), Mixing(partner, 1.0 - copied / len(columns))

    def describe(self) -> str:
        """How many batches are changed, in words."""
        return f"columns of other rows in {self.probability:.0%} of the batches"


def _copied(inputs: Inputs, partner: Tensor, taken: dict[str, list[int]]) -> Inputs:
    parts = {"numeric": inputs} if isinstance(inputs, Tensor) else dict(inputs)
    for name, columns in taken.items():
        part = parts[name]
        index = torch.tensor(columns, device=part.device)
        other = part.index_select(1, index).index_select(0, partner)
        parts[name] = part.index_copy(1, index, other)
    return parts["numeric"] if isinstance(inputs, Tensor) else parts
