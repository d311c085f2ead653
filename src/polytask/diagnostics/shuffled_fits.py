"""One linear model fitted to many orders of the same labels: the factorisation is shared."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .design import Matrix

STEPS = 30
"""Of the logistic fits; validity does not depend on their being converged."""


class Scores(NamedTuple):
    """Mean losses of the fits, one per order.

    Args:
        valid: On validation rows ``[orders]``.
        train: On training rows, with the labels fitted to ``[orders]``.
    """

    valid: Matrix
    train: Matrix


class Side(NamedTuple):
    """Rows of one side, with a column of ones at the end of the inputs.

    Args:
        inputs: ``[rows, columns + 1]``, standardised.
        target: ``[rows, outputs]``; NaN: no label.
        weights: ``[rows]``.
    """

    inputs: Matrix
    target: Matrix
    weights: Matrix


def fit_squares(train: Side, valid: Side, orders: NDArray[np.int64]) -> Scores:
    r"""Ridge regression of every order of the labels, scored by squared error.

    :math:`B = (X^\top W X + \lambda I)^{-1} X^\top W Y`, the bias without penalty and
    :math:`\lambda` the number of columns: a strength that does not look at the labels, so that
    the true order has no privilege. All orders are columns of one right-hand side.

    Args:
        train: Rows to fit; one output.
        valid: Rows to score.
        orders: ``[orders, rows]``: which label each training row gets.
    """
    labels = train.target[:, 0][orders].T
    weighted = train.inputs.T * train.weights
    coefficients = _inverse(train, 1.0) @ (weighted @ labels)
    seen = (train.inputs @ coefficients - labels) ** 2
    unseen = (valid.inputs @ coefficients - valid.target) ** 2
    return Scores(_mean(unseen, valid.weights), _mean(seen, train.weights))


def fit_logits(train: Side, valid: Side, orders: NDArray[np.int64], *, softmax: bool) -> Scores:
    r"""Penalised logistic regression of every order of the labels, scored by log-loss.

    The Hessian of the logistic loss is bounded by :math:`c X^\top W X` with c = 1/4 for
    independent outputs and 1/2 for a softmax, whatever the labels are; the steps

    .. math:: B \leftarrow B + (c X^\top W X + \lambda I)^{-1} (X^\top W (Y - P) - \lambda B)

    with the probabilities P raise the penalised likelihood at every step, and share one
    factorisation.

    Args:
        train: Rows to fit; a column of zeros and ones per output.
        valid: Rows to score.
        orders: ``[orders, rows]``.
        softmax: Exactly one of the outputs is 1 in every row.

    Reference:
        D. Böhning and B. Lindsay, "Monotonicity of quadratic-approximation algorithms", Annals of
        the Institute of Statistical Mathematics 40, 1988.
    """
    rows, outputs = train.target.shape
    labels = train.target[orders].transpose(1, 0, 2)  # rows, orders, outputs
    known = ~np.isnan(labels)
    labels = np.nan_to_num(labels)
    inverse, ridge = _inverse(train, 0.5 if softmax else 0.25), _ridge(train)[:, None]
    weighted = train.inputs.T * train.weights
    coefficients = np.zeros((train.inputs.shape[1], len(orders) * outputs))
    for _ in range(STEPS):
        logits = (train.inputs @ coefficients).reshape(rows, len(orders), outputs)
        rest = np.where(known, labels - _probabilities(logits, softmax=softmax), 0.0)
        gradient = weighted @ rest.reshape(rows, -1) - ridge * coefficients
        coefficients += inverse @ gradient
    seen = (train.inputs @ coefficients).reshape(rows, len(orders), outputs)
    unseen = (valid.inputs @ coefficients).reshape(len(valid.inputs), len(orders), outputs)
    truth = np.broadcast_to(valid.target[:, None], unseen.shape)
    return Scores(
        _mean(_log_loss(unseen, truth, softmax=softmax), valid.weights),
        _mean(_log_loss(seen, np.where(known, labels, np.nan), softmax=softmax), train.weights),
    )


def _ridge(train: Side) -> Matrix:
    columns = train.inputs.shape[1] - 1
    return np.append(np.full(columns, float(columns)), 1e-8)


def _inverse(train: Side, bound: float) -> Matrix:
    gram = (train.inputs.T * train.weights) @ train.inputs
    return np.asarray(np.linalg.inv(bound * gram + np.diag(_ridge(train))))


def _probabilities(logits: Matrix, *, softmax: bool) -> Matrix:
    if softmax:
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(shifted / shifted.sum(-1, keepdims=True))
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def _log_loss(logits: Matrix, labels: Matrix, *, softmax: bool) -> Matrix:
    """``[rows, orders]``; NaN for rows without a label."""
    if softmax:
        shifted = logits - logits.max(-1, keepdims=True)
        return np.asarray(np.log(np.exp(shifted).sum(-1)) - (shifted * labels).sum(-1))
    losses = np.logaddexp(0.0, logits) - labels * logits
    counts = np.maximum((~np.isnan(losses)).sum(-1), 1)
    return np.asarray(np.nansum(losses, -1) / counts)


def _mean(losses: Matrix, weights: Matrix) -> Matrix:
    return np.asarray(weights @ losses / weights.sum())
