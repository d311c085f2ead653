"""Which strength: cross-validation, and the one-standard-error rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from polytask._checks import one_of

from .data_term import DataTerm
from .folds import make_folds
from .held_out import constants, held_out
from .path import Progress, walk
from .penalty import ConvexPenalty
from .problem import Array, Problem
from .standardise import Standardisation

Rule = Literal["best", "one-standard-error"]
MUCH_WORSE = 1.05
"""Times the lowest score so far, twice in a row: weaker penalties are not tried in this search."""


@final
@dataclass(frozen=True)
class Scores:
    """Cross-validated loss over a grid of strengths, relative to the best constants.

    Args:
        strengths: λ, falling; a search may end before the grid does.
        losses: ``[folds, λ, outputs]``, sums over the fold's rows.
        floors: ``[outputs]``, sums of the loss of the training constants over all folds.
    """

    strengths: tuple[float, ...]
    losses: Array
    floors: Array

    @property
    def folds(self) -> Array:
        """``[folds, λ]``: relative loss, mean over outputs; 1 is as bad as a constant."""
        used = self.floors > 0
        relative = self.losses[:, :, used] / self.floors[used]
        count = max(int(used.sum()), 1)
        return np.asarray(relative.sum(2) * len(self.losses) / count)

    @property
    def means(self) -> Array:
        """``[λ]``: mean over folds."""
        return np.asarray(self.folds.mean(0))

    @property
    def errors(self) -> Array:
        """``[λ]``: standard error over folds."""
        return np.asarray(self.folds.std(0, ddof=1) / np.sqrt(len(self.folds)))

    def chosen(self, rule: Rule = "best") -> int:
        """Position of the chosen λ.

        Args:
            rule: ``"best"``: lowest mean; ``"one-standard-error"``: the largest λ whose mean is
                at most the lowest plus its standard error.

        Reference:
            Breiman, Friedman, Olshen & Stone, Classification and Regression Trees, 1984
            (the one-standard-error rule).
        """
        one_of("rule", rule, ("best", "one-standard-error"))
        best = int(self.means.argmin())
        if rule == "best":
            return best
        enough = self.means <= self.means[best] + self.errors[best]
        return int(np.flatnonzero(enough)[0])

    def per_output(self) -> NDArray[np.int64]:
        """``[outputs]``: position of the λ with the lowest loss of each output."""
        return np.asarray(self.losses.sum(0).argmin(0))


def cross_validate(
    problem: Problem,
    penalty: ConvexPenalty,
    grid: Sequence[float],
    *,
    folds: int = 5,
    seed: int = 0,
    assignment: NDArray[np.int64] | None = None,
    alone: NDArray[np.bool_] | None = None,
    tolerance: float = 1e-4,
    max_iterations: int = 2000,
    end_early: bool = True,
    progress: Progress | None = None,
) -> Scores:
    """Scores of a grid of strengths; inputs are standardised anew in every fold.

    The folds go through the grid together. Rows of fold −1 are never held out.

    Args:
        problem: The data, inputs as they are.
        penalty: Its form.
        grid: λ, falling.
        folds: Number of folds, at least 2.
        seed: Of the folds.
        assignment: Fold of every row instead; then `folds` and `seed` play no role.
        alone: Inputs that are not standardised.
        tolerance: Of the solver, as in `solve`; a choice needs few digits.
        max_iterations: Of each solution.
        end_early: Whether weaker penalties are left out once the loss has clearly risen.
        progress: Called after every λ.
    """
    if assignment is None:
        assignment = make_folds(problem, folds, seed)
    walks, floors = [], np.zeros(problem.outputs)
    for fold in np.unique(assignment[assignment >= 0]):
        seen, unseen = np.flatnonzero(assignment != fold), np.flatnonzero(assignment == fold)
        train, test = problem.take(seen), rest(problem, unseen)
        scaling = Standardisation.fit(train.inputs, alone)
        steps = walk(DataTerm(scaling.apply(train)), penalty, grid, tolerance, max_iterations)
        walks.append((steps, test, scaling.inputs(test.inputs)))
        constant = np.broadcast_to(constants(train), test.targets.shape)
        floors += held_out(test, constant)
    losses: list[Array] = []
    lowest, worse = np.inf, 0
    for _ in grid:
        row = [held_out(test, next(steps).predict(inputs)) for steps, test, inputs in walks]
        losses.append(np.stack(row))
        if progress is not None:
            progress(len(losses), len(grid))
        used = floors > 0
        total = float((losses[-1].sum(0)[used] / floors[used]).mean()) if used.any() else 0.0
        worse = worse + 1 if total > MUCH_WORSE * lowest else 0
        lowest = min(lowest, total)
        if end_early and worse == 2:
            break
    return Scores(tuple(grid[: len(losses)]), np.stack(losses, axis=1), floors)


def rest(problem: Problem, rows: NDArray[np.int64]) -> Problem:
    """Unseen rows with the weights that they have; outputs without label there count nothing."""
    part = object.__new__(Problem)
    for name, value in (
        ("inputs", problem.inputs[rows]),
        ("targets", problem.targets[rows]),
        ("weights", problem.weights[rows]),
        ("families", problem.families),
    ):
        object.__setattr__(part, name, value)
    return part
