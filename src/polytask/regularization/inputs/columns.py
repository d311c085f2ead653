"""The columns of the table behind encoded inputs: what is moved or blanked as one."""

from collections.abc import Sequence

from torch import Tensor

from polytask._checks import require
from polytask.data.batch import Inputs

Blocks = tuple[tuple[int, ...], ...]


def checked_blocks(blocks: Sequence[Sequence[int]]) -> Blocks:
    """Groups of indices of numeric inputs that encode one column of the table.

    Args:
        blocks: The groups.

    Raises:
        InvalidArgument: If a group is empty, or an index is negative or occurs twice.

    Example:
        >>> checked_blocks([[0, 1], range(4, 6)])
        ((0, 1), (4, 5))
    """
    named = [column for block in blocks for column in block]
    require(
        all(len(block) > 0 for block in blocks)
        and all(column >= 0 for column in named)
        and len(set(named)) == len(named),
        "blocks",
        "hold non-empty groups of column indices, every index once",
        blocks,
    )
    return tuple(tuple(block) for block in blocks)


def original_columns(inputs: Inputs, blocks: Blocks) -> list[tuple[str, Sequence[int]]]:
    """The columns of the table: the name of the part and the indices within it.

    Args:
        inputs: A tensor, or a mapping of tensors.
        blocks: Indices of the tensor, or of ``"numeric"``, that belong together; all others, and
            all category columns, are columns of their own.

    Raises:
        InvalidArgument: If there are fewer numeric inputs than a block names.

    Example:
        >>> import torch
        >>> original_columns(torch.zeros(2, 4), ((1, 2),))
        [('numeric', (1, 2)), ('numeric', (0,)), ('numeric', (3,))]
    """
    parts = {"numeric": inputs} if isinstance(inputs, Tensor) else inputs
    width = parts["numeric"].shape[1] if "numeric" in parts else 0
    named = {column for block in blocks for column in block}
    require(max(named, default=-1) < width, "blocks", f"name columns below {width}", blocks)
    columns: list[tuple[str, Sequence[int]]] = [("numeric", block) for block in blocks]
    for name, part in parts.items():
        alone = set(range(part.shape[1])) - (named if name == "numeric" else set())
        columns += [(name, (column,)) for column in sorted(alone)]
    return columns
