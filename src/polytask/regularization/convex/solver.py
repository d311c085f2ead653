"""Accelerated proximal gradient with restarts, until the optimality conditions hold."""

import warnings
from dataclasses import dataclass
from typing import final

import numpy as np

from polytask._checks import at_least, positive
from polytask.errors import PolytaskWarning

from .data_term import DataTerm
from .exact import ClosedForm
from .penalty import ConvexPenalty
from .problem import Array, Problem

_GROWTH = 2.0


@final
@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Args:
        weights: W, ``[features, outputs]``, with exact zeros.
        biases: b, ``[outputs]``.
        objective: Data term plus penalty.
        data_term: The data term alone.
        residual: Largest entry of the violated optimality condition, divided by its scale.
        iterations: Steps taken; 0 for a closed form.
        converged: Whether the residual is below the tolerance.
    """

    weights: Array
    biases: Array
    objective: float
    data_term: float
    residual: float
    iterations: int
    converged: bool

    def predict(self, inputs: Array) -> Array:
        """Raw outputs ``[rows, outputs]``."""
        return np.asarray(inputs @ self.weights + self.biases)


def solve(
    problem: Problem,
    penalty: ConvexPenalty,
    *,
    start: Solution | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 20_000,
) -> Solution:
    r"""Minimises :math:`\sum \omega\,\ell(XW + b, y) + \lambda R(W)` over W and free intercepts b.

    Ridge and mean-regularised regression have closed forms. Everything else is accelerated
    proximal gradient whose momentum restarts when it points uphill. It ends when the residual of
    the optimality conditions, the proximal-gradient step divided by its length, is below
    ``tolerance`` times λ (times the gradient at W = 0 for penalties that never give zeros).

    Args:
        problem: The data.
        penalty: λR.
        start: Where to begin; None: at W = 0.
        tolerance: Of the relative residual, above 0.
        max_iterations: Steps, at least 1.

    Warns:
        PolytaskWarning: If the tolerance was not reached.

    Example:
        >>> from polytask.regularization.convex.groups import L21
        >>> inputs = np.array([[1.0, 0.1], [-1.0, 0.1], [2.0, -0.1], [-2.0, -0.1]])
        >>> problem = Problem.wide(inputs, inputs[:, :1] * [[1.0, 2.0]])
        >>> solve(problem, L21(0.5)).weights.round(3).tolist()
        [[0.911, 1.821], [0.0, 0.0]]

    Reference:
        Beck & Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse
        Problems, SIAM J. Imaging Sciences, 2009. https://doi.org/10.1137/080716542
        O'Donoghue & Candès, Adaptive Restart for Accelerated Gradient Schemes, Foundations of
        Computational Mathematics, 2015. https://doi.org/10.1007/s10208-013-9150-3
    """
    positive("tolerance", tolerance)
    at_least("max_iterations", max_iterations, 1)
    data = DataTerm(problem)
    solution = minimise(data, penalty, start, tolerance, max_iterations)
    if not solution.converged:
        warnings.warn(
            f"The solver stopped after {solution.iterations} steps with a residual of "
            f"{solution.residual:.2g} (tolerance {tolerance:g}); raise `max_iterations` or λ.",
            PolytaskWarning,
            stacklevel=2,
        )
    return solution


def minimise(
    data: DataTerm,
    penalty: ConvexPenalty,
    start: Solution | None,
    tolerance: float,
    max_iterations: int,
    closed_form: ClosedForm | None = None,
) -> Solution:
    """`solve` without its warning, on a data term that is used again."""
    first = data.start
    slope = data.evaluate(first)[1][:-1]
    scale = float(np.abs(slope).max())
    if penalty.selects and penalty.strength > 0:
        scale = penalty.strength
    scale = scale or 1.0
    if ClosedForm.serves(data, penalty):
        scale = max(scale, penalty.strength)  # rounding errors of the weights are multiplied by λ
        weights = (closed_form or ClosedForm(data)).weights(penalty)
        current = np.vstack([weights, np.zeros((1, weights.shape[1]))])
        return _solution(data, penalty, current, scale, tolerance, 0)
    current = first if start is None else data.centred(start.weights, start.biases)
    return _accelerate(data, penalty, current, scale, tolerance, max_iterations)


def _accelerate(
    data: DataTerm,
    penalty: ConvexPenalty,
    current: Array,
    scale: float,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    curvature = data.curvature
    ahead, momentum = current, 1.0
    for iteration in range(1, max_iterations + 1):
        value, gradient = data.evaluate(ahead)
        while True:
            following = _step(penalty, ahead, gradient, 1.0 / curvature)
            move = following - ahead
            if data.bounded:
                break
            bound = value + float((gradient * move).sum())
            bound += 0.5 * curvature * float((move**2).sum())
            reached = data.evaluate(following)[0]
            if reached <= bound + 1e-12 * abs(value) or curvature > 1e15:
                break
            curvature *= _GROWTH
        if float(np.abs(move).max()) * curvature <= tolerance * scale:
            found = _solution(data, penalty, following, scale, tolerance, iteration)
            if found.converged:
                return found
        if float((move * (following - current)).sum()) < 0:
            # The last step went against the momentum: forget it.
            momentum, ahead, current = 1.0, following, following
            continue
        larger = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        ahead = following + (momentum - 1.0) / larger * (following - current)
        current, momentum = following, larger
    return _solution(data, penalty, current, scale, tolerance, max_iterations)


def _step(penalty: ConvexPenalty, point: Array, gradient: Array, step: float) -> Array:
    moved = point - step * gradient
    moved[:-1] = penalty.prox(moved[:-1], step)
    return np.asarray(moved)


def _solution(
    data: DataTerm,
    penalty: ConvexPenalty,
    current: Array,
    scale: float,
    tolerance: float,
    iterations: int,
) -> Solution:
    value, gradient = data.evaluate(current)
    curvature = data.curvature
    move = _step(penalty, current, gradient, 1.0 / curvature) - current
    residual = float(np.abs(move).max()) * curvature / scale
    weights = current[:-1].copy()
    return Solution(
        weights,
        data.intercepts(current),
        value + penalty.value(weights),
        value,
        residual,
        iterations,
        residual <= tolerance,
    )
