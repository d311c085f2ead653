"""Folds of rows that keep every task in every fold."""

import numpy as np
from numpy.typing import NDArray

from polytask._checks import require

from .problem import Problem


def make_folds(problem: Problem, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of every row, ``[rows]``; −1: in no fold, always among the training rows.

    Rows are shuffled and then dealt out in the order of the outputs that they label: every fold
    has its share of every task, also in long form, and of every class of the first such family.
    Where all labels of an output stand in one fold, these rows are never held out.

    Args:
        problem: The data.
        folds: Number of folds, at least 2 and at most the number of rows.
        seed: Of the shuffle.
    """
    rows = len(problem.inputs)
    require(2 <= folds <= rows, "folds", f"be between 2 and the {rows} rows", folds)
    order = np.random.default_rng(seed).permutation(rows)
    label = np.zeros(rows)
    for family in problem.families:
        if family.kind in ("logistic", "multinomial"):
            chosen = problem.targets[:, list(family.columns)]
            label = chosen[:, 0] if family.kind == "logistic" else chosen.argmax(1).astype(float)
            break
    first = (problem.weights > 0).argmax(1)
    if not problem.families or (problem.weights > 0).sum(1).max() > 1:
        first = np.zeros(rows, dtype=np.int64)
    dealt = order[np.lexsort((label[order], first[order]))]
    result = np.empty(rows, dtype=np.int64)
    result[dealt] = np.arange(rows) % folds
    labelled = problem.weights > 0
    for column in range(problem.outputs):
        mine = labelled[:, column]
        if len(set(result[mine].tolist())) == 1:
            result[mine] = -1
    return result
