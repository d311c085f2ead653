"""Change of units that makes every task equally large, without a rounding error."""

from typing import NamedTuple

import numpy as np

from .solution import Array


class Equilibrated(NamedTuple):
    """A Gramian in units in which every gradient has a norm between 1/√2 and √2.

    Attributes:
        matrix: G̃ with G̃_ij = G_ij / (2^e_i 2^e_j).
        exponents: e, integers, zero being those of the largest gradient.
        offset: Exponent of the largest gradient; its norm is about 2^offset.
    """

    matrix: Array
    exponents: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    offset: int


def equilibrate(gramian: Array) -> Equilibrated:
    """Divides row and column i by the power of two next to √G_ii.

    Most sub-problems do not change under row scaling (signs, complementarity and cosines stay), and
    solving them on rows of equal length is what keeps small tasks from drowning in the rounding
    errors of large ones. Dividing by a power of two is exact, where dividing by the norm itself
    would perturb a matrix of condition 1e8 in its eighth digit.

    Args:
        gramian: Positive diagonal.

    Example:
        >>> import numpy as np
        >>> equilibrate(np.array([[4.0, -8.0], [-8.0, 64.0]])).matrix
        array([[ 1. , -0.5],
               [-0.5,  1. ]])
    """
    # frexp: G_ii = m 2^p with m in [1/2, 1); e = ⌈(p - 1)/2⌉ leaves G_ii / 4^e in [1/2, 2).
    power = np.frexp(np.diagonal(gramian))[1].astype(np.int64)
    exponents = power // 2
    # Two steps: the sum of two exponents may leave the range of a double where the result does not.
    matrix = np.ldexp(np.ldexp(gramian, -exponents[:, None]), -exponents[None, :])
    offset = int(exponents.max())
    return Equilibrated(matrix, exponents - offset, offset)


def positive_rows(gramian: Array) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """True for every task whose gradient is not zero."""
    return np.asarray(np.diagonal(gramian) > 0.0)


def restrict(gramian: Array, rows: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Array:
    """The Gramian of some of the gradients, in the order of `rows`; itself if these are all."""
    if len(rows) == len(gramian):
        return gramian
    return np.asarray(gramian[np.ix_(rows, rows)])


def noise_level(gramian: Array, weights: Array, precision: float) -> tuple[float, float]:
    """‖Jᵀw‖² and the largest value of it that rounding alone can produce.

    The Gramian carries an error of about `precision` · ‖g_i‖‖g_j‖ in every entry, hence wᵀGw one of
    about K · precision · (Σ_k |w_k|‖g_k‖)². Below that, ‖Jᵀw‖ is indistinguishable from zero.
    """
    natural = float(np.abs(weights) @ np.sqrt(np.diagonal(gramian)))
    squared = float(weights @ gramian @ weights)
    return squared, len(weights) * precision * natural * natural


def is_stationary(gramian: Array, weights: Array, precision: float) -> bool:
    """Whether Jᵀw vanishes to the rounding error of the Gramian although w does not."""
    squared, noise = noise_level(gramian, weights, precision)
    return squared <= noise
