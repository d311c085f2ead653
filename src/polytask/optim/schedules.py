"""Schedules: pure functions from a position (fraction of the run, or epochs) to a factor.

One form serves learning rates, task weights, dropout and decay. Two schedules act together by
multiplication (`product`).
"""

import bisect
import itertools
import math
from collections.abc import Callable, Sequence

from polytask._checks import require

Schedule = Callable[[float], float]
"""Position → factor: the fraction of the run in [0, 1] for rates, epochs for task weights."""

Points = Sequence[tuple[float, float]]
"""(position, factor) pairs with increasing positions."""


def constant(factor: float = 1.0) -> Schedule:
    """The same factor everywhere.

    Args:
        factor: The factor, at least 0.

    Example:
        >>> constant()(0.3)
        1.0
    """
    require(0 <= factor < math.inf, "factor", "be at least 0 and finite", factor)
    return lambda _: factor


def cosine() -> Schedule:
    """Half a cosine from 1 to 0.

    s(t) = ½ (1 + cos πt) for the fraction t of the run; positions outside [0, 1] are clamped.

    Example:
        >>> [round(cosine()(t), 3) for t in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]

    Reference:
        Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017,
        equation 5 with one period. https://arxiv.org/abs/1608.03983
    """
    return lambda position: 0.5 * (1.0 + math.cos(math.pi * _fraction(position)))


def flat_cosine() -> Schedule:
    """Constant for half of the run, then half a cosine to 0.

    s(t) = ½ (1 + cos(π (max(1, 2t) − 1))) for the fraction t of the run.

    Example:
        >>> [round(flat_cosine()(t), 3) for t in (0.0, 0.5, 0.75, 1.0)]
        [1.0, 1.0, 0.5, 0.0]

    Reference:
        Holzmüller, Grinsztajn & Steinwart, Better by Default: Strong Pre-Tuned MLPs and Boosted
        Trees on Tabular Data, NeurIPS 2024 (``flat_cos``). https://arxiv.org/abs/2407.04491
    """
    return lambda position: (
        0.5 * (1.0 + math.cos(math.pi * (max(1.0, 2.0 * _fraction(position)) - 1.0)))
    )


def coslog4() -> Schedule:
    """Four cosine waves, each twice as long as the one before; 0 at both ends.

    s(t) = ½ (1 − cos(2π log₂(1 + 15t))) for the fraction t of the run.

    Example:
        >>> [round(coslog4()(t), 3) for t in (0.0, 1 / 15, 1.0)]
        [0.0, 0.0, 0.0]

    Reference:
        Holzmüller, Grinsztajn & Steinwart, Better by Default: Strong Pre-Tuned MLPs and Boosted
        Trees on Tabular Data, NeurIPS 2024 (``coslog_4``). https://arxiv.org/abs/2407.04491
    """
    return lambda position: (
        0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * _fraction(position))))
    )


def warmed_up(schedule: Schedule, warmup: float) -> Schedule:
    """Another schedule times a linear rise from 0 over the first part of the run.

    s(t) = min(1, t / warmup) · schedule(t).

    Args:
        schedule: What the rise multiplies.
        warmup: Fraction of the run that the rise takes, in [0, 1); 0 returns `schedule`.

    Example:
        >>> warmed_up(constant(), 0.1)(0.05)
        0.5
    """
    require(0 <= warmup < 1, "warmup", "be at least 0 and below 1", warmup)
    if warmup == 0:
        return schedule
    return product(linear([(0.0, 0.0), (warmup, 1.0)]), schedule)


def product(*schedules: Schedule) -> Schedule:
    """Several schedules acting together: the product of their factors.

    Args:
        schedules: At least one schedule.

    Example:
        >>> product(constant(0.5), cosine())(0.5)
        0.25
    """
    require(len(schedules) > 0, "schedules", "hold at least one schedule", schedules)
    return lambda position: math.prod(schedule(position) for schedule in schedules)


def piecewise(points: Points) -> Schedule:
    """Steps: from each point on its factor holds; before the first point, the first factor.

    Args:
        points: (position, factor) pairs with strictly increasing positions, factors at least 0.

    Example:
        >>> schedule = piecewise([(0, 1.0), (10, 0.2)])
        >>> [schedule(epoch) for epoch in (0, 9.9, 10, 50)]
        [1.0, 1.0, 0.2, 0.2]
    """
    positions, factors = _checked(points)
    return lambda position: factors[max(0, bisect.bisect_right(positions, position) - 1)]


def linear(points: Points) -> Schedule:
    """Straight lines between the points, constant before the first and after the last.

    Args:
        points: (position, factor) pairs with strictly increasing positions, factors at least 0.

    Example:
        >>> schedule = linear([(0, 0.0), (10, 1.0)])
        >>> [schedule(epoch) for epoch in (-1, 0, 5, 20)]
        [0.0, 0.0, 0.5, 1.0]
    """
    positions, factors = _checked(points)

    def schedule(position: float) -> float:
        if position <= positions[0]:
            return factors[0]
        if position >= positions[-1]:
            return factors[-1]
        right = bisect.bisect_right(positions, position)
        left = right - 1
        share = (position - positions[left]) / (positions[right] - positions[left])
        return (1.0 - share) * factors[left] + share * factors[right]

    return schedule


def _fraction(position: float) -> float:
    return min(1.0, max(0.0, position))


def _checked(points: Points) -> tuple[list[float], list[float]]:
    pairs = [(float(position), float(factor)) for position, factor in points]
    positions = [position for position, _ in pairs]
    factors = [factor for _, factor in pairs]
    require(len(pairs) > 0, "points", "hold at least one (position, factor) pair", pairs)
    require(
        all(math.isfinite(position) for position in positions)
        and all(later > earlier for earlier, later in itertools.pairwise(positions)),
        "points",
        "have finite, strictly increasing positions",
        pairs,
    )
    require(
        all(0 <= factor < math.inf for factor in factors),
        "points",
        "have finite factors of at least 0",
        pairs,
    )
    return positions, factors
