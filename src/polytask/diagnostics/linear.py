"""Ridge, logistic and Poisson regression by scikit-learn, strength chosen on training rows."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .design import Matrix, thin

RIDGE_ALPHAS = np.logspace(-2, 5, 15)
LOGISTIC_CS = np.logspace(-3, 1, 7)
POISSON_ALPHAS = np.logspace(1, -3, 5)
CLEARLY_WORSE = 1.002
"""Times the best loss so far: then weaker penalties, which cost most, are not tried."""
FOLDS = 3
MAX_ROWS_OF_CHOICE = 20_000
MAX_COST_OF_CHOICE = 1e9
"""Rows × columns² of the decomposition that chooses ridge's strength."""

Array = NDArray[Any]
Score = Callable[[Matrix, NDArray[np.int64]], Matrix]
"""(raw outputs ``[rows, outputs]``, positions of the rows) → loss per row."""


class Fit(NamedTuple):
    """A linear model: raw output = weights · inputs + biases.

    Args:
        weights: ``[outputs, columns]``.
        biases: ``[outputs]``.
        words: Which model with which strength.
    """

    weights: Matrix
    biases: Matrix
    words: str


def ridge(matrix: Matrix, targets: Matrix, weights: Matrix, seed: int) -> list[Fit]:
    """Ridge regression of several targets with the same rows, one strength per target.

    The strength has the lowest leave-one-out error (`RidgeCV`); on large tables it is chosen on a
    random part of the rows and the model is then fitted on all of them: the best strength does
    not depend on the number of rows.

    Args:
        matrix: ``[rows, columns]``, standardised.
        targets: ``[rows, targets]``.
        weights: Row weights ``[rows]``.
        seed: Seed of the choice of rows.
    """
    from sklearn.linear_model import Ridge, RidgeCV

    rows, columns = matrix.shape
    limit = max(1000, int(MAX_COST_OF_CHOICE / max(columns, 1) ** 2))
    several = targets.shape[1] > 1
    chosen = targets if several else targets[:, 0]
    part = _some(rows, limit, seed)
    model = RidgeCV(RIDGE_ALPHAS, alpha_per_target=several)
    model.fit(matrix[part], chosen[part], sample_weight=weights[part])
    alphas = np.atleast_1d(model.alpha_)
    if len(part) < rows:
        model = Ridge(alpha=alphas).fit(matrix, targets, sample_weight=weights)
    coefficients, intercepts = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    return [
        Fit(coefficients[[i]], intercepts[[i]], f"ridge regression (alpha {alphas[i]:.3g})")
        for i in range(targets.shape[1])
    ]


def logistic(
    matrix: Matrix,
    target: NDArray[np.int64],
    weights: Matrix,
    classes: int,
    score: Score,
    seed: int,
) -> Fit:
    """Logistic regression, C with the lowest loss in three folds of the training rows.

    Args:
        matrix: ``[rows, columns]``, standardised.
        target: ``[rows]`` class positions.
        weights: Row weights ``[rows]``.
        classes: Number of classes; two give one logit.
        score: Loss per row, to choose C.
        seed: Seed of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    weights = weights / weights.mean()
    outputs = 1 if classes == 2 else classes

    def fit(part: NDArray[np.int64], strength: float, steps: int) -> tuple[Matrix, Matrix]:
        model = LogisticRegression(C=strength, max_iter=steps, tol=1e-3)
        model.fit(rows[part], target[part], sample_weight=weights[part])
        coefficients, biases = np.zeros((outputs, matrix.shape[1])), np.zeros(outputs)
        if classes == 2:
            return model.coef_, model.intercept_
        if len(model.classes_) == 2:  # one logit: the second class against the first
            coefficients[model.classes_[1]] = model.coef_[0]
            biases[model.classes_[1]] = model.intercept_[0]
        else:
            coefficients[model.classes_] = model.coef_
            biases[model.classes_] = model.intercept_
        absent = np.setdiff1d(np.arange(outputs), model.classes_)
        biases[absent] = biases.min() - 10.0
        return coefficients, biases

    rows = thin(matrix)
    part = _some(len(target), MAX_ROWS_OF_CHOICE, seed)
    _, counts = np.unique(target[part], return_counts=True)
    strength = 0.1
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # An unconverged model is still a baseline, and classes of one or two rows still count.
        warnings.simplefilter("ignore")
        if np.sort(counts)[-2] >= FOLDS:
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
            parts = [(part[a], part[b]) for a, b in folds.split(part, target[part])]
            strength = _best(LOGISTIC_CS, parts, fit, rows, weights, score)
        coefficients, biases = fit(np.arange(len(target)), strength, 1000)
    return Fit(coefficients, biases, f"logistic regression (C {strength:.3g})")


def poisson(matrix: Matrix, target: Matrix, weights: Matrix, score: Score, seed: int) -> Fit:
    """Poisson regression with log link, strength with the lowest loss in three folds.

    Args:
        matrix: ``[rows, columns]``, standardised.
        target: ``[rows]`` counts.
        weights: Row weights ``[rows]``.
        score: Loss per row, to choose the strength.
        seed: Seed of the folds.
    """
    from sklearn.linear_model import PoissonRegressor
    from sklearn.model_selection import KFold

    def fit(part: NDArray[np.int64], strength: float, steps: int) -> tuple[Matrix, Matrix]:
        if not target[part].any():
            return np.zeros((1, matrix.shape[1])), np.full(1, -10.0)
        model = PoissonRegressor(alpha=strength, max_iter=steps, tol=1e-4)
        model.fit(rows[part], target[part], sample_weight=weights[part])
        return model.coef_[None], np.atleast_1d(model.intercept_)

    rows = thin(matrix)
    part = _some(len(target), MAX_ROWS_OF_CHOICE, seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        folds = KFold(FOLDS, shuffle=True, random_state=seed).split(part)
        parts = [(part[a], part[b]) for a, b in folds]
        strength = _best(POISSON_ALPHAS, parts, fit, rows, weights, score)
        coefficients, biases = fit(np.arange(len(target)), strength, 1000)
    return Fit(coefficients, biases, f"Poisson regression (alpha {strength:.3g})")


def _best(
    strengths: Array,
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    fit: Callable[[NDArray[np.int64], float, int], tuple[Matrix, Matrix]],
    rows: Any,
    weights: Matrix,
    score: Score,
) -> float:
    """The strength with the lowest weighted loss on held-out rows; ties take the first.

    The strengths come with falling penalty; the search ends where the loss clearly rises again.
    """

    def losses(strength: float) -> Iterator[float]:
        for seen, unseen in parts:
            coefficients, biases = fit(seen, strength, 200)
            loss = score(rows[unseen] @ coefficients.T + biases, unseen)
            yield float(weights[unseen] @ loss)

    best, lowest = float(strengths[0]), np.inf
    for strength in strengths:
        total = sum(losses(float(strength)))
        if total < lowest:
            best, lowest = float(strength), total
        elif total > lowest * CLEARLY_WORSE:
            break
    return best


def _some(rows: int, limit: int, seed: int) -> NDArray[np.int64]:
    """All positions, or `limit` random ones in order."""
    if rows <= limit:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
