"""Encoded inputs as one matrix for linear models: numbers, and one column per category level."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import NDArray

from polytask.data.batch import Inputs

MAX_LEVELS = 256
"""Levels of one column that get a column each; the rarer ones share the zero row."""

Matrix = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Design:
    """Which columns the matrix has, learnt on training rows.

    Args:
        numeric: Number of numeric columns.
        levels: Per category column, the codes that get a column of their own.
        center: Mean of every column, 0 for columns of zeros and ones.
        scale: Deviation of every column, 1 for columns of zeros and ones.
    """

    numeric: int
    levels: tuple[NDArray[np.int64], ...]
    center: Matrix
    scale: Matrix

    @classmethod
    def fit(cls, inputs: Inputs) -> Self:
        """Levels, means and deviations of training rows."""
        numbers, codes = _parts(inputs)
        levels = tuple(_frequent(column) for column in codes.T)
        center, scale = numbers.mean(0), numbers.std(0)
        plain = (scale == 0) | ((numbers == 0) | (numbers == 1)).all(0)
        extra = sum(map(len, levels))
        return cls(
            numbers.shape[1],
            levels,
            np.concatenate([np.where(plain, 0.0, center), np.zeros(extra)]),
            np.concatenate([np.where(plain, 1.0, scale), np.ones(extra)]),
        )

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.center)

    def matrix(self, inputs: Inputs) -> Matrix:
        """``[rows, width]`` as the inputs are, not yet centred and scaled."""
        numbers, codes = _parts(inputs)
        hot = [codes[:, [i]] == levels for i, levels in enumerate(self.levels)]
        return np.concatenate([numbers, *hot], axis=1, dtype=np.float64)

    def standardised(self, matrix: Matrix) -> Matrix:
        """Centred and scaled; columns of zeros and ones stay as they are."""
        return (matrix - self.center) / self.scale

    def unstandardised(self, weights: Matrix, biases: Matrix) -> tuple[Matrix, Matrix]:
        """Coefficients ``[outputs, width]`` on the standardised matrix → on the plain one."""
        plain = weights / self.scale
        return plain, biases - plain @ self.center


def is_table(inputs: Inputs) -> bool:
    """Whether the inputs are those of an encoded table, or one matrix of numbers."""
    if isinstance(inputs, Mapping):
        return bool(inputs) and set(inputs) <= {"numeric", "categories"}
    return inputs.ndim == 2 and inputs.is_floating_point()


def thin(matrix: Matrix) -> Any:
    """The matrix in sparse form if that is clearly smaller; logistic regression is as exact."""
    if matrix.shape[1] < 64 or np.count_nonzero(matrix) > 0.2 * matrix.size:
        return matrix
    from scipy.sparse import csr_matrix

    return csr_matrix(matrix)


def _parts(inputs: Inputs) -> tuple[Matrix, NDArray[np.int64]]:
    tensors = dict(inputs) if isinstance(inputs, Mapping) else {"numeric": inputs}
    rows = len(next(iter(tensors.values())))
    numbers = tensors.get("numeric", torch.empty(rows, 0))
    codes = tensors.get("categories", torch.empty(rows, 0, dtype=torch.int64))
    return numbers.double().cpu().numpy(), codes.cpu().numpy()


def _frequent(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    levels, counts = np.unique(codes, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_LEVELS])
    return np.asarray(levels[kept])
