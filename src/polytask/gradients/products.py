"""Inner products of task gradients: as exact as float64 sums, as fast as the range allows."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_PIECE, _PIECES = 2**11, 2**12
_DOUBLES = {"cpu": 2**18}
_DOUBLES_ELSEWHERE = 2**24
_SMALLEST, _LARGEST = 1e-20, 1e30


def full_precision(like: Tensor) -> bool:
    """Whether products of such tensors are rounded to their own precision and no further."""
    if like.dtype == torch.float64:
        return True
    if like.dtype != torch.float32 or like.device.type != "cpu":
        return False
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set through the newer interface, backend by backend
        return False


def gramian_of(
    measure: Callable[[bool], Float[Tensor, "tasks tasks"]], like: Tensor, tasks: Sequence[int]
) -> Float[Tensor, "tasks tasks"]:
    """The Gramian in float64, from products in float32 where those can neither under- nor overflow.

    A sum of float32 products over at most 2,048 columns is off by less than 1e-7 of the product of
    the norms (a single sum over millions of columns: by 1e-4), and everything above is added up in
    float64. What float32 cannot hold is noticed on the
    diagonal: then, and wherever modes of reduced precision are allowed, all of it is done again in
    float64.

    Args:
        measure: Returns the Gramian; with True every product is made in float64.
        like: One of the gradients.
        tasks: Rows that are not zero for want of labels.
    """
    if like.dtype == torch.float64 or not full_precision(like):
        return measure(True)
    found = measure(False)
    squares = found.diagonal()
    if len(tasks) != len(squares):
        squares = squares[list(tasks)]
    if float(squares.min()) > _SMALLEST and float(squares.max()) < _LARGEST:
        return found
    return measure(True)


def inner(
    rows: Float[Tensor, "tasks numbers"], others: Float[Tensor, "tasks numbers"], exact: bool
) -> Float[Tensor, "tasks tasks"]:
    """All inner products between two sets of rows, added up in float64."""
    if rows.dtype == torch.float64:
        return torch.mm(rows, others.T)
    if exact:
        return _in_doubles(rows, others)
    width = rows.shape[1]
    whole = width - width % _PIECE
    result = torch.mm(rows[:, whole:], others[:, whole:].T).double()
    for start in range(0, whole, _PIECES * _PIECE):
        end = min(start + _PIECES * _PIECE, whole)
        pieces = _in_pieces(rows[:, start:end])
        with_others = pieces if others is rows else _in_pieces(others[:, start:end])
        products = torch.bmm(pieces, with_others.transpose(1, 2))
        result += products.sum(0, dtype=torch.float64)
    return result


def _in_pieces(rows: Tensor) -> Float[Tensor, "pieces tasks numbers"]:
    return rows.view(len(rows), -1, _PIECE).transpose(0, 1)


def _in_doubles(rows: Tensor, others: Tensor) -> Tensor:
    result = torch.zeros(len(rows), len(others), dtype=torch.float64, device=rows.device)
    step = max(1024, _DOUBLES.get(rows.device.type, _DOUBLES_ELSEWHERE) // max(len(rows), 1))
    # One piece of memory for all chunks: fresh pages would cost as much as the products.
    here = torch.empty(len(rows), step, dtype=torch.float64, device=rows.device)
    there = here if others is rows else torch.empty_like(here)
    for start in range(0, rows.shape[1], step):
        chunk = rows[:, start : start + step]
        part = other = here[:, : chunk.shape[1]].copy_(chunk)
        if others is not rows:
            other = there[:, : chunk.shape[1]].copy_(others[:, start : start + step])
        result.addmm_(part, other.T)
    return result
