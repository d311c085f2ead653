"""The problem with two parameters and two losses on which gradient methods are usually drawn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from polytask.aggregation import GradientAggregator, GramianAggregator, Problem
from polytask.balancing import LossBalancer
from polytask.gradients import Balance

Pair = tuple[float, float]

STARTS: tuple[Pair, ...] = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
"""Where the authors of Nash-MTL and FAMO start."""

EPOCH = 1000
"""Steps of an epoch, after which methods that average over epochs hear of its end."""

_SMALLEST = 5e-6


@final
@dataclass(frozen=True)
class ToyProblem:
    """Two valleys that lead away from the Pareto front, and two bowls that form it.

    With x = (x1, x2),

        f1 = log(max(|(-x1 - 7)/2 - tanh(-x2)|, 5e-6)) + 6        c1 = max(tanh(x2/2), 0)
        f2 = log(max(|(-x1 + 3)/2 + tanh(-x2) + 2|, 5e-6)) + 6    c2 = max(tanh(-x2/2), 0)
        g1 = ((x1 - 7)² + (x2 + 8)²/10)/10 - 20
        g2 = ((x1 + 7)² + (x2 + 8)²/10)/10 - 20
        L1 = s (f1 c1 + g1 c2)            L2 = f2 c1 + g2 c2

    Above x2 = 0 the losses are narrow curved valleys, below it two bowls around x1 = ±7. The Pareto
    front is close to the line x2 = -8.36, |x1| ≤ 7. With s = 0.1 the second loss dominates a sum.

    Args:
        scale: s > 0, size of the first loss. CAGrad: 1; Nash-MTL and FAMO: 0.1.

    Example:
        >>> problem = ToyProblem()
        >>> losses, gradients = problem.at(0.0, -8.36)
        >>> [round(loss, 2) for loss in losses]
        [-1.51, -15.09]
        >>> problem.on_front(0.0, -8.36), problem.on_front(5.0, 3.9)
        (True, False)

    Reference:
        Liu, Liu, Jin, Stone, Liu, "Conflict-averse gradient descent for multi-task learning",
        NeurIPS 2021, appendix, https://arxiv.org/abs/2110.14048; with s = 0.1: Navon et al.,
        "Multi-task learning as a bargaining game", ICML 2022, https://arxiv.org/abs/2202.01017
    """

    scale: float = 0.1

    @property
    def bounds(self) -> Pair:
        """Values below both losses: methods that take logarithms count from there."""
        return -21.0 * self.scale, -21.0

    def at(self, x1: float, x2: float) -> tuple[Pair, tuple[Pair, Pair]]:
        """Both losses and their gradients; at a kink as `torch.clamp` has them."""
        bend = math.tanh(-x2)
        slope = bend * bend - 1.0  # of the bend
        ramp = math.tanh(0.5 * x2)
        rise = 0.5 * (1.0 - ramp * ramp)
        up, down = max(ramp, 0.0), max(-ramp, 0.0)
        up_slope, down_slope = rise if ramp >= 0.0 else 0.0, -rise if ramp <= 0.0 else 0.0
        losses, gradients = [], []
        for inside, inside_slope, centre, size in (
            (0.5 * (-x1 - 7.0) - bend, -slope, 7.0, self.scale),
            (0.5 * (-x1 + 3.0) + bend + 2.0, slope, -7.0, 1.0),
        ):
            f = math.log(max(abs(inside), _SMALLEST)) + 6.0
            steep = 1.0 / inside if abs(inside) >= _SMALLEST else 0.0
            g = ((x1 - centre) ** 2 + 0.1 * (x2 + 8.0) ** 2) / 10.0 - 20.0
            along = -0.5 * steep * up + (x1 - centre) / 5.0 * down
            across = steep * inside_slope * up + f * up_slope
            across += (x2 + 8.0) / 50.0 * down + g * down_slope
            losses.append(size * (f * up + g * down))
            gradients.append((size * along, size * across))
        return (losses[0], losses[1]), (gradients[0], gradients[1])

    def on_front(self, x1: float, x2: float) -> bool:
        """Whether a point is close to the Pareto front."""
        return abs(x2 + 8.36) < 0.1 and abs(x1) <= 7.05


def descend(
    method: Balance,
    problem: ToyProblem,
    start: Pair,
    *,
    steps: int = 50_000,
    learning_rate: float = 1e-3,
    every: int = 100,
    settled: float = 0.0,
) -> list[Pair]:
    """The path of a method from one start by plain Adam in float64, a point each `every` steps.

    Losses are handed to the method counted from `ToyProblem.bounds`, because many methods want them
    positive. Scalars that a method trains have an Adam of their own with the same learning rate.

    Args:
        method: A fresh instance.
        problem: The problem.
        start: (x1, x2).
        steps: Length of the path.
        learning_rate: Of Adam.
        every: Steps between two points of the path.
        settled: The path ends early when an epoch has moved less than this in both coordinates.

    Example:
        >>> from polytask.aggregation import MGDA
        >>> len(descend(MGDA(), ToyProblem(), (0.0, -7.0), steps=100, every=50))
        3
    """
    update = _updates(method, learning_rate)
    low, high = problem.bounds
    x1, x2 = start
    if isinstance(method, LossBalancer):
        _epoch(method, problem, start, 0, steps)
    path, before = [start], start
    m1 = m2 = v1 = v2 = 0.0
    fade, fade_squared = 1.0, 1.0
    for number in range(1, steps + 1):
        (first, second), gradients = problem.at(x1, x2)
        d1, d2 = update((first - low, second - high), gradients)
        m1, m2 = 0.9 * m1 + 0.1 * d1, 0.9 * m2 + 0.1 * d2
        v1, v2 = 0.999 * v1 + 0.001 * d1 * d1, 0.999 * v2 + 0.001 * d2 * d2
        fade, fade_squared = 0.9 * fade, 0.999 * fade_squared
        rate, bias = learning_rate / (1.0 - fade), 1.0 - fade_squared
        x1 -= rate * m1 / (math.sqrt(v1 / bias) + 1e-8)
        x2 -= rate * m2 / (math.sqrt(v2 / bias) + 1e-8)
        if isinstance(method, LossBalancer):
            if method.observes:
                (first, second), _ = problem.at(x1, x2)
                method.observe(torch.tensor((first - low, second - high), dtype=torch.float64))
            if number % EPOCH == 0:
                _epoch(method, problem, (x1, x2), number, steps)
        if number % every == 0:
            path.append((x1, x2))
        if number % EPOCH == 0:
            if max(abs(x1 - before[0]), abs(x2 - before[1])) < settled:
                break
            before = (x1, x2)
    return path


def _epoch(method: LossBalancer, problem: ToyProblem, point: Pair, number: int, steps: int) -> None:
    """What a method hears at the start and at the end of every epoch.

    The losses themselves stand for those of rows that were set aside: there are no rows here.
    """
    if number:
        method.end_epoch()
    method.progress(number / steps, number / EPOCH)
    if method.held_out:
        (first, second), _ = problem.at(*point)
        low, high = problem.bounds
        method.measured(torch.tensor((first - low, second - high), dtype=torch.float64))


def _updates(
    method: Balance, learning_rate: float
) -> Callable[[Pair, tuple[Pair, Pair]], Sequence[float]]:
    """Losses and gradients → update."""
    if isinstance(method, GramianAggregator):
        tasks, precision = np.arange(2), float(np.finfo(np.float64).eps)

        def from_gramian(losses: Pair, gradients: tuple[Pair, Pair]) -> Sequence[float]:
            (a, b), (c, d) = gradients
            gramian = np.array([[a * a + b * b, a * c + b * d], [a * c + b * d, c * c + d * d]])
            known = np.array(losses) if method.needs_losses else None
            one, two = method.weigh(Problem(gramian, known, tasks, 2, precision)).weights.tolist()
            return one * a + two * c, one * b + two * d

        return from_gramian
    if isinstance(method, GradientAggregator):

        def from_jacobian(losses: Pair, gradients: tuple[Pair, Pair]) -> Sequence[float]:
            jacobian = torch.tensor(gradients, dtype=torch.float64)
            found: list[float] = method(
                jacobian, torch.tensor(losses, dtype=torch.float64)
            ).tolist()
            return found

        return from_jacobian
    own = list(method.parameters())
    optimizer = torch.optim.Adam(own, lr=learning_rate) if own else None

    def from_losses(losses: Pair, gradients: tuple[Pair, Pair]) -> Sequence[float]:
        leaf = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
        if optimizer is not None:
            optimizer.zero_grad()
        torch.autograd.backward(method(leaf))
        if optimizer is not None:
            optimizer.step()
        assert leaf.grad is not None
        (a, b), (c, d) = gradients
        one, two = leaf.grad.tolist()
        return one * a + two * c, one * b + two * d

    return from_losses
