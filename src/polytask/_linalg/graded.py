"""The inverse root of a Gramian to full precision, however unequal the gradients are."""

from typing import NamedTuple

import numpy as np

from .compensated import affine
from .solution import Array

_SWEEPS = 30
_EPS = float(np.finfo(np.float64).eps)


class InverseRoot(NamedTuple):
    """G^(-1/2) p with what it was made of.

    Attributes:
        product: [tasks].
        values: Eigenvalues of G that are not rounding errors, ascending.
        residual: Largest cosine that is left between vectors that ought to be orthogonal.
    """

    product: Array
    values: Array
    residual: float


def inverse_root(gramian: Array, preference: Array, precision: float) -> InverseRoot:
    """G^(-1/2) p with relative errors that depend on the cosines of the gradients alone.

    G = D C D with the norms D. An ordinary decomposition loses the small eigenvalues of G in the
    rounding errors of the large ones. Here G = LLᵀ by Cholesky's method with complete pivoting,
    without tasks of which less than K · precision of their own squared norm is left. One-sided
    Jacobi rotations make the columns of Lᵀ orthogonal: LᵀU = WΣ, so that the eigenvectors are U,
    the eigenvalues Σ², and

        G^(-1/2) = U Σ⁻¹ Uᵀ = L⁻ᵀ W Uᵀ,

    where the last form never divides a rounding error of a large gradient by a small one.
    If some tasks are left out, L has fewer columns than rows; it is then these that are rotated,
    LW = UΣ, and the pseudo-inverse UΣ⁻¹Uᵀ is applied.

    Args:
        gramian: G, [tasks, tasks], positive diagonal.
        preference: p, [tasks].
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Demmel, Veselić, "Jacobi's method is more accurate than QR", SIAM J. Matrix Analysis, 1992,
        Algorithm 4.4.
    """
    size = len(gramian)
    factor = _pivoted_cholesky(gramian, size * precision)
    if factor.shape[1] < size:
        rotated, _ = _orthogonal(factor.T, np.eye(factor.shape[1]))
        lengths = np.sqrt((rotated * rotated).sum(axis=1))
        units = rotated / lengths[:, None]
        product = units.T @ ((units @ preference) / lengths)
        return InverseRoot(product, np.sort(lengths) ** 2, _crookedness(units))
    # (L + ½ E L⁻ᵀ)(…)ᵀ = G up to E², with the error E = G - LLᵀ from sums that lose no digits.
    error = -affine(factor, factor.T, -gramian)
    sizes = np.abs(factor).max(axis=1, keepdims=True)
    factor = factor + 0.5 * np.linalg.solve(factor / sizes, error / sizes).T
    rotated, vectors = _orthogonal(factor, np.eye(size))
    lengths = np.sqrt((rotated * rotated).sum(axis=1))
    units = rotated / lengths[:, None]
    side = units.T @ (vectors @ preference)
    # Columns of Lᵀ brought to one length: the solve sees the cosines only.
    product = np.linalg.solve((factor / sizes).T, side) / sizes[:, 0]
    return InverseRoot(product, np.sort(lengths) ** 2, _crookedness(units))


def _crookedness(units: Array) -> float:
    """Largest cosine between different rows of length one."""
    return float(np.abs(units @ units.T - np.eye(len(units))).max())


def _pivoted_cholesky(gramian: Array, cut: float) -> Array:
    """L with LLᵀ = G to rounding, [tasks, rank], pivots in descending order."""
    left = gramian.copy()
    smallest = cut * np.diagonal(gramian)
    columns = []
    for _ in range(len(gramian)):
        diagonal = np.diagonal(left)
        pivot = int(np.argmax(np.where(diagonal > smallest, diagonal, -np.inf)))
        if not diagonal[pivot] > smallest[pivot]:
            break
        column = left[pivot] / np.sqrt(diagonal[pivot])
        columns.append(column)
        left = left - np.outer(column, column)
        left[pivot] = left[:, pivot] = 0.0
    return np.stack(columns, axis=1)


def _orthogonal(rows: Array, basis: Array) -> tuple[Array, Array]:
    """Rows rotated until they are orthogonal, and `basis` under the same rotations.

    All disjoint pairs of rows at once, in the order of a round-robin tournament.
    """
    rank = len(rows)
    padded = rank + rank % 2
    table = np.arange(padded)
    result, together = np.array(rows), np.array(basis)
    for _ in range(_SWEEPS if rank > 1 else 0):
        worst = 0.0
        for _ in range(padded - 1):
            first, second = table[: padded // 2], table[: padded // 2 - 1 : -1]
            table = np.concatenate([table[:1], table[-1:], table[1:-1]])
            real = np.maximum(first, second) < rank
            one, two = first[real], second[real]
            a, b = result[one], result[two]
            square_a, square_b = (a * a).sum(axis=1), (b * b).sum(axis=1)
            inner = (a * b).sum(axis=1)
            cosine = np.abs(inner) / np.sqrt(square_a * square_b)
            worst = max(worst, float(cosine.max()))
            turned = cosine > _EPS
            zeta = (square_b - square_a) / np.where(turned, 2.0 * inner, 1.0)
            tangent = np.where(zeta >= 0.0, 1.0, -1.0) / (np.abs(zeta) + np.hypot(1.0, zeta))
            tangent = np.where(turned, tangent, 0.0)[:, None]
            c = 1.0 / np.hypot(1.0, tangent)
            s = c * tangent
            result[one], result[two] = c * a - s * b, s * a + c * b
            u, v = together[one], together[two]
            together[one], together[two] = c * u - s * v, s * u + c * v
        if worst <= 8.0 * rank * _EPS:
            break
    return result, together
