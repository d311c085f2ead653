"""Selection of the gradients that most others are close to: Krum and Multi-Krum."""

import numpy as np

from .scaling import is_stationary, positive_rows, restrict
from .solution import STATIONARY, Array, Solution, conclude

TOO_FEW = "too-few-tasks"
"""Fewer gradients than scores need: every gradient was judged by its nearest neighbour alone."""


def solve_krum(
    gramian: Array, outliers: int, selected: int, squared: bool, precision: float
) -> Solution:
    """Weights 1/m for the m gradients with the smallest scores, 0 for the others.

        D_ij² = G_ii + G_jj - 2G_ij,     s_i = Σ of the K - f - 2 smallest D_ij² with j ≠ i

    With fewer than f + 3 gradients one neighbour is left, flagged `TOO_FEW`. Scores that differ
    from the m-th smallest by no more than the rounding error of the Gramian tie with it, and tied
    gradients share what is left of m equally. Tasks with a zero gradient are left out.

    Args:
        gramian: G, [tasks, tasks].
        outliers: f, at least 0.
        selected: m, at least 1; all gradients if there are fewer.
        squared: False sums D_ij instead of D_ij².
        precision: Machine epsilon of the precision in which G was accumulated.

    Reference:
        Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with adversaries: Byzantine
        tolerant gradient descent", NeurIPS 2017.
    """
    rows = np.flatnonzero(positive_rows(gramian))
    if rows.size == 0:
        return conclude(np.full(len(gramian), 1.0 / len(gramian)), 0.0, STATIONARY)
    small = restrict(gramian, rows)
    # In units of the largest, exact: sums do not overflow, nor do rounding errors underflow.
    small = np.ldexp(small, -np.frexp(np.diagonal(small).max())[1])
    sums = np.diagonal(small)[:, None] + np.diagonal(small)
    squares, error = sums - 2.0 * small, rows.size * precision * sums
    neighbours, wanted = max(rows.size - outliers - 2, 1), min(selected, rows.size)

    def scores(values: Array) -> Array:
        distances = np.maximum(values, 0.0) if squared else np.sqrt(np.maximum(values, 0.0))
        np.fill_diagonal(distances, 0.0)  # first in its row, and not counted
        return np.asarray(np.sort(distances, axis=1)[:, 1 : neighbours + 1].sum(axis=1))

    least, likely, most = scores(squares - error), scores(squares), scores(squares + error)
    last = likely == np.sort(likely)[wanted - 1]
    better = most < least[last].min()
    tied = ~better & (least <= most[last].max())
    shares = (better + tied * ((wanted - better.sum()) / tied.sum())) / wanted
    weights = np.zeros(len(gramian))
    weights[rows] = shares
    stationary = is_stationary(small, shares, precision)
    flags = [STATIONARY] * stationary + [TOO_FEW] * (rows.size < outliers + 3)
    return conclude(weights, 0.0, *flags)
