"""Loss per output on rows that a solution has not seen."""

import numpy as np

from .losses import link, loss
from .problem import Array, Problem


def held_out(problem: Problem, outputs: Array) -> Array:
    """Weighted sum of the loss, ``[outputs]``; a multinomial family counts in its first column.

    Args:
        problem: The unseen rows with their labels and weights.
        outputs: Raw outputs for these rows.
    """
    result = np.zeros(problem.outputs)
    for family in problem.families:
        chosen = list(family.columns)
        cells = loss(family.kind, outputs[:, chosen], problem.targets[:, chosen])
        # A gap has weight 0, and 0 times an overflow is no loss.
        weights = problem.weights[:, chosen]
        result[chosen] = np.where(weights > 0, weights * cells, 0.0).sum(0)
    return result


def constants(problem: Problem) -> Array:
    """The best constant outputs, from rows that have been seen."""
    result = np.zeros(problem.outputs)
    for family in problem.families:
        chosen = list(family.columns)
        weights = problem.weights[:, chosen]
        sums = weights.sum(0)
        shares = (weights * problem.targets[:, chosen]).sum(0) / np.where(sums > 0, sums, 1.0)
        result[chosen] = link(family.kind, shares)
    return result
