"""The last digits after training: full-batch proximal gradient until the optimum's zeros stand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polytask._checks import at_least, positive, require
from polytask.optim.roles import ParameterInfo
from polytask.regularization.objective.base import Penalty
from polytask.regularization.objective.layout import arrange

_MOST_HALVINGS = 60


@final
@dataclass(frozen=True)
class Polished:
    """What `polish` did.

    Args:
        residual: Largest violation of the optimality conditions, divided by λ.
        iterations: Steps taken.
        converged: Whether the residual is below the tolerance.
        zeros: Weights under the penalty that are exactly 0.
        entries: Weights under the penalty.
    """

    residual: float
    iterations: int
    converged: bool
    zeros: int
    entries: int


def polish(
    objective: Callable[[], Tensor],
    infos: Sequence[ParameterInfo],
    penalty: Penalty,
    *,
    tolerance: float = 1e-4,
    max_iterations: int = 500,
) -> Polished:
    """Proximal gradient on the parameters that `penalty` selects, in place; all others stay.

    Stochastic steps keep weights near zero that the full objective sets to zero, and the other way
    round. A few hundred full-batch steps, accelerated, with the step size found by backtracking,
    give the support of a stationary point. On heads over frozen features the problem is convex and
    the support is that of the solution.

    Args:
        objective: The objective without `penalty`, on all training rows, dropout off, with its
            graph; called once or twice per step.
        infos: The model's parameters, as ``model.roles()`` gives them.
        penalty: One that acts by a proximal step and has a strength above 0.
        tolerance: Of the residual, above 0.
        max_iterations: Steps, at least 1.

    Raises:
        InvalidArgument: If the penalty has no proximal step, or the objective is not finite.

    Example:
        >>> from torch import nn
        >>> from polytask.optim.roles import Kind, Role
        >>> from polytask.regularization.objective.joint_features import JointFeatures
        >>> head = nn.Linear(2, 1, bias=False, dtype=torch.float64)
        >>> inputs = torch.tensor([[1.0, 0.1], [-1.0, 0.1]], dtype=torch.float64)
        >>> info = ParameterInfo("h", head.weight, Role.HEAD, Kind.WEIGHT, frozenset({"a"}))
        >>> loss = lambda: (head(inputs) - inputs[:, :1]).square().mean()
        >>> polish(loss, [info], JointFeatures(0.5)).zeros, head.weight.tolist()[0][1]
        (1, 0.0)

    Reference:
        Beck & Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse
        Problems, SIAM J. Imaging Sciences, 2009. https://doi.org/10.1137/080716542
    """
    positive("tolerance", tolerance)
    at_least("max_iterations", max_iterations, 1)
    require(penalty.acts == "prox", "penalty", "act by a proximal step", penalty.describe())
    positive("strength of the penalty", penalty.strength)
    search = _Search(objective, infos, penalty)
    residual, iteration = search.residual(), 0
    while residual > tolerance and iteration < max_iterations:
        search.step()
        iteration += 1
        residual = search.residual()
    zeros, entries = search.zeros()
    return Polished(residual, iteration, residual <= tolerance, zeros, entries)


@final
class _Search:
    def __init__(
        self,
        objective: Callable[[], Tensor],
        infos: Sequence[ParameterInfo],
        penalty: Penalty,
    ) -> None:
        self.objective, self.penalty = objective, penalty
        self.layout = arrange(infos, penalty.selector, penalty.layout)
        chosen = {index for block in self.layout.blocks for index in block.indices}
        self.parameters = [
            info.parameter if index in chosen else info.parameter.detach()
            for index, info in enumerate(self.layout.infos)
        ]
        self.moved = [p for index, p in enumerate(self.parameters) if index in chosen]
        self.curvature, self.momentum = 1.0, 1.0
        self.previous = [p.detach().clone() for p in self.moved]

    def gradient(self) -> tuple[float, list[Tensor]]:
        with torch.enable_grad():
            value = self.objective()
            gradients = torch.autograd.grad(value, self.moved, materialize_grads=True)
        number = float(value.detach())
        require(math.isfinite(number), "objective", "be finite", number)
        return number, list(gradients)

    @torch.no_grad()
    def prox(self, gradients: Sequence[Tensor], step: float) -> None:
        for parameter, gradient in zip(self.moved, gradients, strict=True):
            parameter.sub_(gradient, alpha=step)
        weights = [parameter.detach() for parameter in self.parameters]
        matrices = [self.layout.matrix(block, weights) for block in self.layout.blocks]
        self.penalty.prox_(matrices, [step] * len(matrices))
        for block, matrix in zip(self.layout.blocks, matrices, strict=True):
            self.layout.write_(block, weights, matrix)

    @torch.no_grad()
    def put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.moved, values, strict=True):
            parameter.copy_(value)

    @torch.no_grad()
    def residual(self) -> float:
        """The proximal-gradient step at the weights as they are, divided by its length and λ."""
        here = [p.detach().clone() for p in self.moved]
        _, gradients = self.gradient()
        self.prox(gradients, 1.0 / self.curvature)
        largest = max(float((p - h).abs().max()) for p, h in zip(self.moved, here, strict=True))
        self.put(here)
        return largest * self.curvature / self.penalty.strength

    @torch.no_grad()
    def step(self) -> None:
        """One accelerated step; where it goes uphill, the momentum is forgotten."""
        here = [p.detach().clone() for p in self.moved]
        larger = 0.5 * (1.0 + (1.0 + 4.0 * self.momentum**2) ** 0.5)
        share = (self.momentum - 1.0) / larger
        ahead = [h + share * (h - b) for h, b in zip(here, self.previous, strict=True)]
        self.put(ahead)
        value, gradients = self.gradient()
        moves = self._descend(ahead, value, gradients)
        forward = sum(
            float((m * (p - h)).sum()) for m, p, h in zip(moves, self.moved, here, strict=True)
        )
        self.momentum = 1.0 if forward < 0 else larger
        self.previous = [p.detach().clone() for p in self.moved] if forward < 0 else here

    def _descend(
        self, ahead: Sequence[Tensor], value: float, gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        self.curvature *= 0.9
        rounding = 4.0 * torch.finfo(self.moved[0].dtype).eps * max(abs(value), 1e-30)
        for _ in range(_MOST_HALVINGS):
            self.put(ahead)
            self.prox(gradients, 1.0 / self.curvature)
            moves = [p.detach() - a for p, a in zip(self.moved, ahead, strict=True)]
            bound = value + rounding
            for move, gradient in zip(moves, gradients, strict=True):
                bound += float((gradient * move).sum())
                bound += 0.5 * self.curvature * float(move.square().sum())
            if float(self.objective()) <= bound:
                break
            self.curvature *= 2.0
        return moves

    def zeros(self) -> tuple[int, int]:
        matrices = self.layout.matrices([p.detach() for p in self.parameters])
        return sum(int((m == 0).sum()) for m in matrices), sum(m.numel() for m in matrices)
