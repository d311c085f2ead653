"""Task gradients as the rows of one matrix that is allocated once."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import Unsupported

from .losses import promoted
from .products import gramian_of, inner


@final
class Rows:
    """A [tasks, numbers] matrix with views of every row in the shapes of the gradients."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)
        self._shapes: list[torch.Size] = []
        self._views: list[list[Tensor]] = []
        self.matrix = torch.empty(0, 0)

    def open(self, num_tasks: int, likes: Sequence[Tensor]) -> None:
        """Makes room for one row per task; keeps memory and views if nothing has changed."""
        kind, device = row_format(likes)
        shapes = [like.shape for like in likes]
        same = self.matrix.dtype == kind and self.matrix.device == device
        if same and self.matrix.shape[0] == num_tasks and shapes == self._shapes:
            return
        width = sum(like.numel() for like in likes)
        needed = num_tasks * width
        if not same or self._memory.numel() < needed:
            self._memory = torch.empty(needed, dtype=kind, device=device)
        self.matrix = self._memory[:needed].view(num_tasks, width)
        self._shapes = shapes
        self._views = [split(row, shapes) for row in self.matrix]

    def write(self, task: int, number: int, gradient: Tensor) -> None:
        """Writes a single gradient into a row."""
        self._views[task][number].copy_(_dense(gradient))

    def fill(self, task: int, gradients: Sequence[Tensor | None]) -> None:
        """Writes a row; what a task does not reach is zero."""
        views = self._views[task]
        reached = [view for view, g in zip(views, gradients, strict=True) if g is not None]
        given = [_dense(g) for g in gradients if g is not None]
        if reached:
            torch._foreach_copy_(reached, given)
        if len(reached) == len(views):
            return
        missing = [view for view, g in zip(views, gradients, strict=True) if g is None]
        if missing:
            torch._foreach_zero_(missing)

    def clear(self, task: int) -> None:
        """The row of an absent task."""
        self.matrix[task].zero_()

    def gramian(self, tasks: Sequence[int]) -> Float[Tensor, "tasks tasks"]:
        """All inner products, in float64.

        Args:
            tasks: Rows that are not zero for want of labels.
        """
        rows = self.matrix
        return gramian_of(lambda exact: inner(rows, rows, exact), rows, tasks)

    def mixed(self, weights: Float[Tensor, " tasks"]) -> list[Tensor]:
        """Σ_k w_k row_k in memory of its own, in the shapes of the gradients."""
        return split(torch.mv(self.matrix.T, weights.to(self.matrix)), self._shapes)

    def shaped(self, row: Tensor) -> list[Tensor]:
        """A vector as long as a row, in the shapes of the gradients."""
        return split(row, self._shapes)


def row_format(likes: Sequence[Tensor]) -> tuple[torch.dtype, torch.device]:
    """Dtype (at least float32) and device of rows that hold such gradients."""
    kind = promoted(likes[0].dtype)
    for like in likes:
        kind = torch.promote_types(kind, like.dtype)
        if like.device != likes[0].device:
            raise Unsupported(
                f"Shared parameters must be on one device to be compared; got "
                f"{likes[0].device} and {like.device}."
            )
    return kind, likes[0].device


def row_bytes(likes: Sequence[Tensor]) -> int:
    """Memory of one row."""
    return row_format(likes)[0].itemsize * sum(like.numel() for like in likes)


def split(row: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Views of a vector."""
    parts = torch.split_with_sizes(row, [shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _dense(gradient: Tensor) -> Tensor:
    if gradient.is_sparse:
        raise Unsupported(
            "A shared embedding has sparse gradients, which cannot be compared between tasks. "
            "Make it with sparse=False."
        )
    return gradient
