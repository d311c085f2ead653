"""How penalties see parameters: as matrices, in-place where memory allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from polytask._checks import require
from polytask.errors import InvalidArgument
from polytask.optim.roles import ParameterInfo, Selector

from .select import is_stacked, select, slices

Form = Literal["entry", "row", "column", "layer", "features", "task"]


@dataclass(frozen=True)
class Piece:
    """A parameter, or some heads of a stacked one, as a matrix.

    Args:
        index: Of the parameter in the layout.
        heads: Slices along the first dimension; None for the whole tensor.
        stacked: Whether the first dimension counts heads.
        form: What the rows of the matrix are.
    """

    index: int
    heads: tuple[int, ...] | None
    stacked: bool
    form: Form

    def matrix(self, tensor: Tensor) -> Tensor:
        """A tensor of the parameter's shape → its matrix, a view wherever possible."""
        if self.heads is not None:
            first, count = self.heads[0], len(self.heads)
            consecutive = self.heads == tuple(range(first, first + count))
            tensor = tensor.narrow(0, first, count) if consecutive else tensor[list(self.heads)]
        return self._form(tensor)

    def _form(self, tensor: Tensor) -> Tensor:
        if self.form == "entry":
            return tensor.reshape(-1, 1)
        if self.form == "layer":
            return tensor.reshape(1, -1)
        if self.form == "task":
            return tensor.flatten(1).mT if self.stacked else tensor.reshape(-1, 1)
        if tensor.ndim < 2:
            tensor = tensor.reshape(-1, 1)
        if self.form == "row":
            return tensor.flatten(0, -2) if self.stacked else tensor.flatten(1)
        if self.stacked:
            return tensor.flatten(0, -2).mT
        return tensor.transpose(0, 1).flatten(1)

    def write_(self, tensor: Tensor, matrix: Tensor) -> None:
        """Puts a matrix that is no view of the tensor back into it."""
        if self.heads is None:
            part = tensor
        else:
            part = tensor[list(self.heads)]
        # The same map on positions says which entry of the matrix belongs where.
        places = torch.arange(part.numel(), device=part.device).view(part.shape)
        order = self._form(places).reshape(-1)
        flat = torch.empty(part.numel(), dtype=part.dtype, device=part.device)
        flat[order] = matrix.reshape(-1)
        if self.heads is None:
            tensor.copy_(flat.view(part.shape))
        else:
            tensor[list(self.heads)] = flat.view(part.shape)


@dataclass(frozen=True)
class Block:
    """One matrix of a layout: pieces side by side."""

    pieces: tuple[Piece, ...]
    columns: tuple[str, ...] = ()

    @cached_property
    def indices(self) -> tuple[int, ...]:
        """The parameters that it holds."""
        return tuple(dict.fromkeys(piece.index for piece in self.pieces))


@dataclass(frozen=True)
class Layout:
    """The blocks of a selection; the same for weights, steps and optimizer state.

    Args:
        infos: The selected parameters.
        blocks: The matrices.
        alone: Name → reason, for selected parameters that no block holds.

    Example:
        >>> from torch import nn
        >>> from polytask.optim.roles import Kind, Role
        >>> layer = nn.Linear(3, 2)
        >>> info = ParameterInfo("w", layer.weight, Role.HEAD, Kind.WEIGHT, frozenset({"a", "b"}))
        >>> layout = arrange([info], Selector(group="column"), "groups")
        >>> [tuple(block.shape) for block in layout.matrices([layer.weight.detach()])]
        [(3, 2)]
    """

    infos: tuple[ParameterInfo, ...]
    blocks: tuple[Block, ...]
    alone: dict[str, str]

    def matrices(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Tensors of the parameters' shapes → one matrix per block, views where possible."""
        return [self.matrix(block, tensors) for block in self.blocks]

    def matrix(self, block: Block, tensors: Sequence[Tensor] | Mapping[int, Tensor]) -> Tensor:
        """The matrix of one block, from the tensors at its indices."""
        parts = [piece.matrix(tensors[piece.index]) for piece in block.pieces]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def write_(self, block: Block, tensors: Sequence[Tensor], matrix: Tensor) -> None:
        """Writes a changed block back, unless it shares memory with its parameter."""
        begin = 0
        for piece in block.pieces:
            tensor = tensors[piece.index]
            if same_memory(tensor, matrix):
                return
            width = matrix.shape[1]
            if len(block.pieces) > 1:
                width = piece.matrix(tensor).shape[1]
            part = matrix[:, begin : begin + width]
            view = piece.matrix(tensor)
            if same_memory(tensor, view):
                view.copy_(part)
            else:
                piece.write_(tensor, part)
            begin += width


def arrange(
    infos: Sequence[ParameterInfo],
    selector: Selector,
    kind: Literal["groups", "features", "tasks"],
) -> Layout:
    """The blocks of the selected parameters.

    - ``"groups"``: one block per parameter, ``[groups, members]``: one group per entry, per row
      (output unit), per column (input feature) or per layer. A stacked head
      ``[k, outputs, width]`` counts as ``[k · outputs, width]``; the rows of a convolution are its
      output channels. With the group "tasks" the same as ``"features"``.
    - ``"features"``: one matrix ``[features, outputs of all tasks]``.
    - ``"tasks"``: one matrix ``[entries, tasks]`` per set of corresponding weights: slices of
      stacked heads of equal size, and parameters whose names differ only in their task's name.

    Args:
        infos: The model's parameters.
        selector: Which of them.
        kind: The layout.

    Raises:
        InvalidArgument: If nothing is selected, or the matrices do not fit together.
        UnknownName: If the selector names an unknown task.
    """
    chosen = tuple(select(infos, selector))
    heads = [slices(info, selector) for info in chosen]
    group = selector.group
    if kind == "tasks":
        return _tasks(chosen, heads)
    form: Form = "features" if kind == "features" or group == "tasks" else group
    pieces = tuple(
        Piece(index, None if part is None else tuple(part), is_stacked(info), form)
        for index, (info, part) in enumerate(zip(chosen, heads, strict=True))
    )
    if form != "features":
        return Layout(chosen, tuple(Block((piece,)) for piece in pieces), {})
    widths = {
        info.name: len(piece.matrix(info.parameter.detach()))
        for info, piece in zip(chosen, pieces, strict=True)
    }
    require(
        len(set(widths.values())) == 1,
        "selector",
        "select weights with the same number of inputs, one row per shared feature",
        widths,
        "Select these weights only, by roles or names.",
    )
    return Layout(chosen, (Block(pieces),), {})


def _tasks(chosen: tuple[ParameterInfo, ...], heads: Sequence[list[int] | None]) -> Layout:
    names = {task for info in chosen for task in info.tasks}
    sets: dict[tuple[object, ...], list[tuple[Piece, tuple[str, ...]]]] = {}
    for index, (info, part) in enumerate(zip(chosen, heads, strict=True)):
        shape = tuple(info.parameter.shape)
        key: tuple[object, ...]
        if is_stacked(info):
            key = ("heads", *shape[1:])
            order = info.order or (tuple(info.tasks) if len(info.tasks) == 1 else ())
            count = range(len(info.parameter)) if part is None else part
            columns = tuple(order[i] if order else "" for i in count)
        else:
            owners = info.tasks if len(info.tasks) == 1 else names
            words = info.name.split(".")
            mine = [task for task in owners if task in words]
            words = ["*" if word in mine else word for word in words]
            key = (".".join(words), *shape)
            columns = (mine[0],) if mine else ("",)
        piece = Piece(index, None if part is None else tuple(part), is_stacked(info), "task")
        sets.setdefault(key, []).append((piece, columns))
    blocks: list[Block] = []
    alone: dict[str, str] = {}
    for members in sets.values():
        columns = tuple(name for _, names_ in members for name in names_)
        if len(columns) > 1:
            blocks.append(Block(tuple(piece for piece, _ in members), columns))
        else:
            alone[chosen[members[0][0].index].name] = "no other task has such weights"
    if not blocks:
        raise InvalidArgument(
            "`selector` must select weights that several tasks have each for itself; got "
            f"{sorted(alone)}. Heads correspond if their sizes are equal, other parameters if "
            "their names differ only in the task's name."
        )
    return Layout(chosen, tuple(blocks), alone)


def same_memory(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors share their storage."""
    return tensor.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
