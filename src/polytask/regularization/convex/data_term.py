"""The data term with its gradient: from Gram matrices where labels are numbers, else from rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from .losses import CURVATURE, link, loss, mean
from .problem import Array, Family, Problem

MAX_GRAM = 20_000_000
"""Entries of all Gram matrices."""


@final
@dataclass(frozen=True)
class Pattern:
    """Columns whose labels stand in the same rows with the same weights.

    Args:
        columns: Their positions.
        gram: XᵀΩX of the centred inputs.
        moment: XᵀΩy of the centred targets, ``[features, columns]``.
        square: Σ ω y² of the centred targets, ``[columns]``.
        center: Weighted mean of the inputs.
        level: Weighted mean of the targets, ``[columns]``.
    """

    columns: NDArray[np.int64]
    gram: Array
    moment: Array
    square: Array
    center: Array
    level: Array


@final
class DataTerm:
    """Σ ω ℓ(XW + b, y) as a function of the coefficients [W; b] ``[features + 1, outputs]``.

    The intercepts are free. For numbers they are eliminated (inputs and targets are centred per
    column); for the other losses they are coordinates like the others, on centred inputs.

    Args:
        problem: The data.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        keys: dict[bytes, list[int]] = {}
        for column in range(problem.outputs):
            keys.setdefault(problem.weights[:, column].tobytes(), []).append(column)
        self._same = list(keys.values())
        squared = {c for f in problem.families if f.kind == "squared" for c in f.columns}
        patterns = [[c for c in same if c in squared] for same in self._same]
        patterns = [columns for columns in patterns if columns]
        rows, width = problem.inputs.shape
        size = len(patterns) * width**2
        small = size <= min(MAX_GRAM, max(2_000_000, 4 * rows * width))
        self.patterns = [self._pattern(columns) for columns in patterns] if small else []
        self._rows = tuple(f for f in problem.families if f.kind != "squared" or not small)
        self._center = problem.inputs.mean(0)
        self._inputs = problem.inputs - self._center if self._rows else problem.inputs[:0]
        order = np.array([p.columns[0] for p in self.patterns], dtype=np.int64)
        single = len(self.patterns) > 1 and all(len(p.columns) == 1 for p in self.patterns)
        self._stack = (
            (
                order,
                np.stack([p.gram for p in self.patterns]),
                np.hstack([p.moment for p in self.patterns]),
            )
            if single
            else None
        )

    @property
    def only_numbers(self) -> bool:
        """Whether all of it is a quadratic form held as Gram matrices."""
        return not self._rows

    def _pattern(self, columns: list[int]) -> Pattern:
        problem = self.problem
        weights = problem.weights[:, columns[0]]
        rows = np.flatnonzero(weights > 0)
        weights = weights[rows]
        inputs, targets = problem.inputs[rows], problem.targets[rows][:, columns]
        total = weights.sum()
        center, level = weights @ inputs / total, weights @ targets / total
        inputs, targets = inputs - center, targets - level
        weighted = inputs.T * weights
        square = np.einsum("r,rc->c", weights, targets**2)
        places = np.array(columns)
        return Pattern(places, weighted @ inputs, weighted @ targets, square, center, level)

    @cached_property
    def start(self) -> Array:
        """W = 0 with the best intercepts."""
        problem = self.problem
        coefficients = np.zeros((problem.features + 1, problem.outputs))
        for family in self._rows:
            chosen = list(family.columns)
            weights = problem.weights[:, chosen]
            shares = (weights * problem.targets[:, chosen]).sum(0) / weights.sum(0)
            coefficients[-1, chosen] = link(family.kind, shares)
        return coefficients

    @cached_property
    def curvature(self) -> float:
        """Upper bound of the largest eigenvalue of the second derivative; a guess for Poisson."""
        bounds = [np.linalg.eigvalsh(p.gram)[-1] for p in self.patterns]
        kinds = {c: f.kind for f in self._rows for c in f.columns}
        for same in self._same:
            own = [CURVATURE[kinds[c]] for c in same if c in kinds]
            if own:
                weights = self.problem.weights[:, same[0]]
                rows = np.flatnonzero(weights > 0)
                matrix = np.hstack([self._inputs[rows], np.ones((len(rows), 1))])
                matrix *= np.sqrt(weights[rows])[:, None]
                small = matrix @ matrix.T if len(rows) < matrix.shape[1] else matrix.T @ matrix
                bounds.append(max(own) * np.linalg.eigvalsh(small)[-1])
        return float(max(bounds)) or 1.0

    @property
    def bounded(self) -> bool:
        """Whether `curvature` is a bound."""
        return all(family.kind != "poisson" for family in self._rows)

    def evaluate(self, coefficients: Array) -> tuple[float, Array]:
        """Value and gradient at [W; b]."""
        gradient = np.zeros_like(coefficients)
        value = self._quadratic(coefficients, gradient)
        for family in self._rows:
            value += self._family(family, coefficients, gradient)
        return value, gradient

    def _quadratic(self, coefficients: Array, gradient: Array) -> float:
        if self._stack is not None:
            order, grams, moments = self._stack
            weights = coefficients[:-1, order]
            product = np.matmul(grams, weights.T[:, :, None])[:, :, 0].T
            gradient[:-1, order] = product - moments
            total = sum(float(p.square.sum()) for p in self.patterns)
            return 0.5 * (float((weights * (product - 2 * moments)).sum()) + total)
        value = 0.0
        for pattern in self.patterns:
            weights = coefficients[:-1, pattern.columns]
            product = pattern.gram @ weights
            gradient[:-1, pattern.columns] = product - pattern.moment
            value += 0.5 * float((weights * (product - 2 * pattern.moment)).sum())
            value += 0.5 * float(pattern.square.sum())
        return value

    def _family(self, family: Family, coefficients: Array, gradient: Array) -> float:
        chosen = list(family.columns)
        weights, targets = self.problem.weights[:, chosen], self.problem.targets[:, chosen]
        outputs = self._inputs @ coefficients[:-1, chosen] + coefficients[-1, chosen]
        slope = weights * (mean(family.kind, outputs) - targets)
        gradient[:-1, chosen] = self._inputs.T @ slope
        gradient[-1, chosen] = slope.sum(0)
        return float((weights * loss(family.kind, outputs, targets)).sum())

    def intercepts(self, coefficients: Array) -> Array:
        """B for the inputs as they were given."""
        biases = coefficients[-1] - self._center @ coefficients[:-1]
        for pattern in self.patterns:
            weights = coefficients[:-1, pattern.columns]
            biases[pattern.columns] = pattern.level - pattern.center @ weights
        return np.asarray(biases)

    def centred(self, weights: Array, biases: Array) -> Array:
        """The inverse of `intercepts`: [W; b] as `evaluate` takes them."""
        intercepts = biases + self._center @ weights
        for pattern in self.patterns:
            intercepts[pattern.columns] = 0.0
        return np.vstack([weights, intercepts])
