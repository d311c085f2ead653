"""Paths of solutions over falling strengths, each started where the one before ended."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from polytask._checks import at_least, probability, require
from polytask.errors import PolytaskWarning

from .data_term import DataTerm
from .exact import ClosedForm
from .penalty import ConvexPenalty
from .problem import Problem
from .solver import Solution, minimise

Progress = Callable[[int, int], None]
"""(solutions found, solutions in all) → None."""


@final
@dataclass(frozen=True)
class Path:
    """Solutions from the strongest to the weakest penalty.

    Args:
        penalty: Its form; its own strength plays no role.
        strengths: λ, falling.
        solutions: One per λ.
    """

    penalty: ConvexPenalty
    strengths: tuple[float, ...]
    solutions: tuple[Solution, ...]


def lambda_max(problem: Problem, penalty: ConvexPenalty) -> float:
    """The smallest λ at which all weights are zero: the dual norm of the gradient at W = 0.

    Args:
        problem: The data; intercepts are at their best values for W = 0.
        penalty: Any penalty that selects; its own strength plays no role.

    Raises:
        Unsupported: For ridge, mean-regularised and graph penalties.

    Example:
        >>> from polytask.regularization.convex.shrinkage import ElasticNet
        >>> problem = Problem.wide(np.array([[1.0], [-1.0]]), np.array([[3.0], [-3.0]]))
        >>> lambda_max(problem, ElasticNet(0.0))
        3.0
    """
    data = DataTerm(problem)
    return penalty.dual(data.evaluate(data.start)[1][:-1])


def strengths(
    problem: Problem, penalty: ConvexPenalty, *, ratio: float = 1e-3, count: int = 100
) -> tuple[float, ...]:
    """λ from the largest sensible one down to `ratio` times it, evenly spaced in the logarithm.

    The largest is `lambda_max`; for penalties that never give zeros it is ten times the largest
    eigenvalue of the second derivative, where at most a tenth of the weights is left.

    Args:
        problem: The data.
        penalty: Its form.
        ratio: Smallest over largest λ, above 0 and below 1.
        count: Number of λ, at least 1.
    """
    probability("ratio", ratio)
    require(ratio > 0, "ratio", "be above 0 and below 1", ratio)
    at_least("count", count, 1)
    top = lambda_max(problem, penalty) if penalty.selects else 10.0 * DataTerm(problem).curvature
    return tuple((top * np.logspace(0.0, np.log10(ratio), count)).tolist())


def path(
    problem: Problem,
    penalty: ConvexPenalty,
    *,
    ratio: float = 1e-3,
    count: int = 100,
    grid: Sequence[float] | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
    progress: Progress | None = None,
) -> Path:
    """Solutions over a grid of strengths.

    Args:
        problem: The data.
        penalty: Its form; its own strength plays no role.
        ratio: Smallest over largest λ, above 0 and below 1.
        count: Number of λ, at least 1.
        grid: The λ themselves, falling; then `ratio` and `count` play no role.
        tolerance: As in `solve`.
        max_iterations: Of each solution.
        progress: Called after every solution.

    Warns:
        PolytaskWarning: If some solutions did not reach the tolerance; they say so themselves.

    Example:
        >>> from polytask.regularization.convex.shrinkage import ElasticNet
        >>> problem = Problem.wide(np.array([[1.0], [-1.0]]), np.array([[3.0], [-3.0]]))
        >>> found = path(problem, ElasticNet(0.0), ratio=0.1, count=3)
        >>> [float(s.weights[0, 0].round(3)) for s in found.solutions]
        [0.0, 2.051, 2.7]
    """
    if grid is None:
        grid = strengths(problem, penalty, ratio=ratio, count=count)
    found: list[Solution] = []
    for solution in walk(DataTerm(problem), penalty, grid, tolerance, max_iterations):
        found.append(solution)
        if progress is not None:
            progress(len(found), len(grid))
    open_ends = sum(not solution.converged for solution in found)
    if open_ends:
        warnings.warn(
            f"{open_ends} of {len(found)} solutions of the path stopped before the tolerance "
            f"{tolerance:g} (largest residual {max(s.residual for s in found):.2g}).",
            PolytaskWarning,
            stacklevel=2,
        )
    return Path(penalty, tuple(float(strength) for strength in grid), tuple(found))


def walk(
    data: DataTerm,
    penalty: ConvexPenalty,
    grid: Sequence[float],
    tolerance: float,
    max_iterations: int,
) -> Iterator[Solution]:
    """The solutions of a path, one by one."""
    closed = ClosedForm(data) if ClosedForm.serves(data, penalty) else None
    last: Solution | None = None
    for strength in grid:
        own = penalty.at(float(strength))
        last = minimise(data, own, last, tolerance, max_iterations, closed)
        yield last
