"""Inputs of equal size inside the solver; weights for the inputs as they are outside."""

from dataclasses import dataclass, replace
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from .problem import Array, Problem
from .solver import Solution


@final
@dataclass(frozen=True)
class Standardisation:
    """Mean and deviation of every input, learnt on the rows of one problem.

    Args:
        center: Means.
        scale: Deviations; 1 for constant inputs and those left alone.
    """

    center: Array
    scale: Array

    @classmethod
    def fit(cls, inputs: Array, alone: NDArray[np.bool_] | None = None) -> Self:
        """From rows.

        Args:
            inputs: ``[rows, features]``.
            alone: Inputs to leave as they are, ``[features]``, such as indicators of levels.
        """
        center, scale = inputs.mean(0), inputs.std(0)
        constant = scale <= 1e-12 * np.abs(center).clip(1.0)
        scale = np.where(constant, 1.0, scale)
        return cls(center, scale if alone is None else np.where(alone, 1.0, scale))

    def apply(self, problem: Problem) -> Problem:
        """The problem on standardised inputs."""
        return replace(problem, inputs=self.inputs(problem.inputs))

    def inputs(self, matrix: Array) -> Array:
        """Rows of inputs, standardised."""
        return (matrix - self.center) / self.scale

    def undo(self, solution: Solution) -> Solution:
        """The same model for inputs as they were."""
        weights = solution.weights / self.scale[:, None]
        biases = solution.biases - self.center @ weights
        return replace(solution, weights=weights, biases=biases)
