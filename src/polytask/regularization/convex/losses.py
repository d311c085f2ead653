"""Value and mean of each kind of label, elementwise."""

import numpy as np

from .problem import Array, Kind

CURVATURE: dict[Kind, float] = {
    "squared": 1.0,
    "logistic": 0.25,
    "multinomial": 0.5,
    "poisson": 1.0,
}
"""Upper bound of the second derivative; for "poisson", whose has none, the first guess."""
SMALLEST_SHARE = 1e-9


def loss(kind: Kind, outputs: Array, targets: Array) -> Array:
    """Loss per cell ``[rows, columns]``; of a multinomial family in its first column.

    Args:
        kind: Of the labels.
        outputs: z.
        targets: y.
    """
    if kind == "squared":
        return 0.5 * (outputs - targets) ** 2
    if kind == "logistic":
        return np.logaddexp(0.0, outputs) - targets * outputs
    if kind == "poisson":
        logs = np.log(np.where(targets > 0, targets, 1.0))
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(outputs) - targets * (outputs + 1.0 - logs))
    top = outputs.max(1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(outputs - top).sum(1))
    result = np.zeros_like(outputs)
    result[:, 0] = total - (targets * outputs).sum(1)
    return result


def mean(kind: Kind, outputs: Array) -> Array:
    """Expected label: the derivative of the loss is mean − target.

    Args:
        kind: Of the labels.
        outputs: z.
    """
    if kind == "squared":
        return outputs
    if kind == "logistic":
        return 0.5 * (1.0 + np.tanh(0.5 * outputs))
    if kind == "poisson":
        with np.errstate(over="ignore"):
            return np.exp(outputs)
    shifted = np.exp(outputs - outputs.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def link(kind: Kind, shares: Array) -> Array:
    """Outputs whose mean is `shares` ``[columns]``: the best constants.

    Args:
        kind: Of the labels.
        shares: Weighted mean of the targets.
    """
    if kind == "squared":
        return shares
    if kind == "logistic":
        inside = shares.clip(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
        return np.asarray(np.log(inside) - np.log1p(-inside))
    return np.asarray(np.log(shares.clip(SMALLEST_SHARE)))
