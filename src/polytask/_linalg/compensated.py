"""Products with twice the digits, which ill-conditioned systems need."""

from typing import NamedTuple

import numpy as np

from .solution import Array

_MANTISSA = 53
_SLICES = 4
_WELL_CONDITIONED = 1e-3


class LostDigits(NamedTuple):
    """What rounding took from a matrix and from offsets when they were computed; None: nothing.

    Attributes:
        matrix: [unknowns, unknowns].
        offsets: [problems, unknowns].
    """

    matrix: Array | None = None
    offsets: Array | None = None

    def of(self, problems: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> "LostDigits":
        """The same for some of the problems."""
        return self if self.offsets is None else self._replace(offsets=self.offsets[problems])


NOTHING_LOST = LostDigits()


def well_conditioned(matrix: Array) -> bool:
    """Whether every system with a principal block of H keeps eleven digits in plain arithmetic.

    True if the smallest eigenvalue exceeds 1e-3 of the mean one, which one Cholesky factorisation
    of a shifted matrix tells. The blocks then do no worse, because their eigenvalues interlace.

    Args:
        matrix: H, [unknowns, unknowns], symmetric.
    """
    shift = _WELL_CONDITIONED * float(np.trace(matrix)) / len(matrix)
    try:
        np.linalg.cholesky(matrix - shift * np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        return False
    return True


def affine(
    vectors: Array,
    matrix: Array,
    offsets: Array | None = None,
    lost: LostDigits = NOTHING_LOST,
) -> Array:
    """Returns vectors @ matrix + offsets, rounded once at the end instead of after every addition.

    Both factors are cut into four slices of so few bits that a product of two slices is exact in
    double precision (error-free transformation); the products are then added together with the
    rounding error of every addition. The error is below 2⁻⁶⁹ of the terms instead of 2⁻⁵³, on every
    platform, by ordinary matrix products.

    Args:
        vectors: [problems, unknowns].
        matrix: [unknowns, unknowns].
        offsets: Added to the products, [problems, unknowns].
        lost: Digits of the matrix and of the offsets below their last ones.

    Example:
        >>> import numpy as np
        >>> row, column = np.array([[1e8 + 1, 1e8]]), np.array([[1e8 - 1], [-1e8]])
        >>> float((row @ column)[0, 0]), float(affine(row, column)[0, 0])
        (0.0, -1.0)

    Reference:
        Ozaki, Ogita, Oishi, Rump, "Error-free transformations of matrix multiplication by using
        fast routines of matrix multiplication and its applications", Numerical Algorithms, 2012.
    """
    terms = len(matrix)
    bits = (_MANTISSA - int(np.ceil(np.log2(terms))) - 1) // 2
    left, right = _slices(vectors, 1, bits), _slices(matrix, 0, bits)
    total = np.zeros((len(vectors), matrix.shape[1])) if offsets is None else offsets.copy()
    error = np.zeros_like(total)
    for order in range(_SLICES):
        for i in range(order + 1):
            part = left[i] @ right[order - i]
            added = total + part
            back = added - total
            error += (total - (added - back)) + (part - back)
            total = added
    if lost.matrix is not None:
        error += vectors @ lost.matrix
    if lost.offsets is not None:
        error += lost.offsets
    return np.asarray(total + error)


def _slices(values: Array, axis: int, bits: int) -> list[Array]:
    """`values` as a sum of parts, each a multiple of 2^-bits of the one before, along `axis`."""
    parts, left = [], values
    exponent = np.frexp(np.abs(values).max(axis=axis, keepdims=True))[1]
    for index in range(_SLICES):
        # Adding and subtracting 1.5 · 2^m rounds to a multiple of 2^(m - 52).
        anchor = np.ldexp(1.5, exponent - (index + 1) * bits + _MANTISSA - 1)
        part = (left + anchor) - anchor
        parts.append(part)
        left = left - part
    return parts
