"""As many rows out as in: the one check at the joint between a network and the heads."""

from collections.abc import Mapping

from torch import Tensor, nn

from polytask._checks import require
from polytask.errors import InvalidArgument


def count_rows(inputs: Mapping[str, Tensor] | Tensor) -> int:
    """The number of rows of encoded inputs.

    Args:
        inputs: One tensor, or a mapping of tensors, rows first.
    """
    if isinstance(inputs, Tensor):
        return inputs.shape[0]
    require(len(inputs) > 0, "inputs", "hold at least one tensor", sorted(inputs))
    return next(iter(inputs.values())).shape[0]


def check_rows(
    inputs: Mapping[str, Tensor] | Tensor,
    result: Tensor,
    module: nn.Module,
    what: str = "features",
    *,
    members: int = 1,
) -> None:
    """Requires one row of output per row of input.

    A ``view(-1, size)`` with a wrong size mixes rows silently whenever the batch happens to be
    divisible; it shows here.

    Args:
        inputs: What went in.
        result: What came out.
        module: What computed it, for the sentence.
        what: What the result is, for the sentence.
        members: With more than one, the second axis must be that long.
    """
    rows = count_rows(inputs)
    if result.shape[:1] != (rows,):
        raise InvalidArgument(
            f"`{type(module).__name__}` must return one row of {what} per row of input; got "
            f"{list(result.shape)} for {rows} rows. A view(-1, …) or flatten() over the batch axis "
            "mixes rows: use flatten(1)."
        )
    if members > 1 and (result.ndim != 3 or result.shape[1] != members):
        raise InvalidArgument(
            f"`{type(module).__name__}` must return {what} [rows, {members}, width], one vector "
            f"per member; got {list(result.shape)}. Set its `members` to what it returns."
        )
