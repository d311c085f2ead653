"""Which penalty: cross-validation over several forms, the simplest unless another is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from polytask._checks import require

from .data_term import DataTerm
from .exact import ClosedForm
from .folds import make_folds
from .path import Progress, strengths
from .penalty import ConvexPenalty
from .problem import Array, Problem
from .relations import MeanRegularised
from .selection import Rule, Scores, cross_validate
from .shrinkage import Ridge
from .solver import Solution, minimise
from .standardise import Standardisation

RATIO, RIDGE_RATIO, RIDGE_RATIO_OF_ROWS = 1e-3, 1e-7, 1e-5
"""Smallest over largest λ: of penalties that select; of the others, with closed forms or not."""
STEPS_OF_CHOICE = 150
"""Of one λ in one fold, where no Gram matrix holds the data; each starts at the last one's end."""


@final
@dataclass(frozen=True)
class Candidate:
    """One form of penalty in a choice.

    Args:
        name: Of the penalty.
        strengths: The chosen λ for all rows; one, or one per output.
        score: Cross-validated relative loss, mean over outputs; 1 is as bad as a constant.
        error: Its standard error over the folds.
        better_by: Mean difference to the simplest form, in standard errors of the differences.
        folds: Score of every fold.
    """

    name: str
    strengths: tuple[float, ...]
    score: float
    error: float
    better_by: float
    folds: tuple[float, ...]


@final
@dataclass(frozen=True)
class Choice:
    """What was chosen, and from what.

    Args:
        solution: The chosen model on all rows, for inputs as they are.
        chosen: Name of its penalty.
        candidates: All forms in the order of simplicity.
        converged: Whether the final fit reached its tolerance.
    """

    solution: Solution
    chosen: str
    candidates: tuple[Candidate, ...]
    converged: bool


def choose(
    problem: Problem,
    penalties: Sequence[ConvexPenalty],
    *,
    folds: int = 5,
    seed: int = 0,
    rule: Rule = "best",
    count: int = 20,
    separate_strengths: bool = True,
    alone: NDArray[np.bool_] | None = None,
    rows_of_choice: int | None = None,
    tolerance: float = 1e-5,
    max_iterations: int = 3000,
    progress: Progress | None = None,
) -> Choice:
    """Chooses form and strength of the penalty by cross-validation and fits on all rows.

    All forms see the same folds. A form replaces a simpler one if it is better by more than one
    standard error of the differences between their folds.

    Args:
        problem: The data, inputs as they are; they are standardised inside.
        penalties: Forms, simplest first; their own strengths play no role.
        folds: Number of folds, at least 2.
        seed: Of the folds and of the rows of the choice.
        rule: How λ is chosen within a form.
        count: λ per form, at least 1.
        separate_strengths: Whether ridge regression has a λ for every output, that of the lowest
            leave-one-out error.
        alone: Inputs that are not standardised.
        rows_of_choice: Most rows that the choice looks at; None: 20000 for numbers, 3000 for other
            labels. On all N rows in place of n, λ becomes λ n/N for penalties that shrink and
            λ √(n/N) for those that select, as theory has it for means of losses.
        tolerance: Of the final fit.
        max_iterations: Of the final fit.
        progress: Called after every λ of every form.

    Raises:
        InvalidArgument: If no form is given, or an output has too few labels for the folds.

    Example:
        >>> random = np.random.default_rng(0)
        >>> inputs = random.normal(size=(60, 4))
        >>> targets = inputs @ random.normal(size=(4, 2)) + random.normal(size=(60, 2))
        >>> choose(Problem.wide(inputs, targets), [Ridge(0.0)]).chosen
        'ridge'
    """
    require(len(penalties) > 0, "penalties", "name at least one form", list(penalties))
    numbers = all(family.kind == "squared" for family in problem.families)
    part = _part(problem, rows_of_choice or (20_000 if numbers else 3000), seed)
    assignment = make_folds(part, folds, seed)
    data = Standardisation.fit(part.inputs, alone).apply(part)
    numbers = DataTerm(data).only_numbers
    share = len(part.inputs) / len(problem.inputs)
    found: list[Candidate] = []
    taken: list[tuple[ConvexPenalty, Array]] = []
    done = 0

    def tick(step: int, _: int) -> None:
        if progress is not None:
            progress(done + step, count * len(penalties))

    for penalty in penalties:
        ratio = RATIO if penalty.selects else RIDGE_RATIO if numbers else RIDGE_RATIO_OF_ROWS
        grid = strengths(data, penalty, ratio=ratio, count=count)
        own = separate_strengths and rule == "best" and _separable(data, penalty)
        scores = cross_validate(
            part,
            penalty,
            grid,
            assignment=assignment,
            alone=alone,
            end_early=not own,
            tolerance=1e-4 if numbers else 1e-3,
            max_iterations=2000 if numbers else STEPS_OF_CHOICE,
            progress=tick,
        )
        done += count
        place = np.full(part.outputs, scores.chosen(rule))
        if own:
            terms = DataTerm(data)
            if terms.only_numbers:
                place = ClosedForm(terms).leave_one_out(grid).argmin(0)
            else:
                place = scores.per_output()
        moved = share**0.5 if penalty.selects else share
        found.append(_candidate(penalty, scores, place, moved, found))
        taken.append((penalty, np.array(grid)[place] * moved))
    best = 0
    for index, candidate in enumerate(found):
        if candidate.score < found[best].score and _beats(candidate, found[best]):
            best = index
    penalty, values = taken[best]
    scaling = Standardisation.fit(problem.inputs, alone)
    solution = _final(scaling.apply(problem), penalty, values, tolerance, max_iterations)
    return Choice(scaling.undo(solution), found[best].name, tuple(found), solution.converged)


def _separable(problem: Problem, penalty: ConvexPenalty) -> bool:
    return isinstance(penalty, Ridge) and all(f.kind == "squared" for f in problem.families)


def _part(problem: Problem, rows: int, seed: int) -> Problem:
    """At most `rows` random rows, if every output keeps at least some labels."""
    if len(problem.inputs) <= rows:
        return problem
    chosen = np.random.default_rng(seed).choice(len(problem.inputs), rows, replace=False)
    chosen.sort()
    kept = (problem.weights[chosen] > 0).sum(0)
    enough = np.minimum((problem.weights > 0).sum(0), 30)
    return problem.take(chosen) if bool((kept >= enough).all()) else problem


def _candidate(
    penalty: ConvexPenalty,
    scores: Scores,
    place: NDArray[np.int64],
    moved: float,
    simpler: Sequence[Candidate],
) -> Candidate:
    used = np.flatnonzero(scores.floors > 0)
    losses = scores.losses[:, place[used], used] / scores.floors[used]
    folds = losses.mean(1) * len(losses) if len(used) else np.ones(len(losses))
    values = tuple(dict.fromkeys((np.array(scores.strengths)[place] * moved).tolist()))
    error = float(folds.std(ddof=1) / np.sqrt(len(folds)))
    better = 0.0
    if simpler:
        better = _standardised(np.array(simpler[0].folds) - folds)
    return Candidate(
        penalty.name, values, float(folds.mean()), error, better, tuple(folds.tolist())
    )


def _standardised(differences: Array) -> float:
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    mean = float(differences.mean())
    return mean / error if error > 0 else (0.0 if mean == 0 else float(np.sign(mean)) * 1e9)


def _beats(candidate: Candidate, simpler: Candidate) -> bool:
    return _standardised(np.array(simpler.folds) - np.array(candidate.folds)) > 1.0


def _final(
    problem: Problem,
    penalty: ConvexPenalty,
    values: Array,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    data = DataTerm(problem)
    if len(set(values.tolist())) == 1 or not data.only_numbers:
        own = penalty.at(float(values[0]))
        if isinstance(own, MeanRegularised) or ClosedForm.serves(data, own):
            return minimise(data, own, None, tolerance, max_iterations)
        # A short walk down to the chosen λ is quicker than a cold start.
        start: Solution | None = None
        for factor in (100.0, 10.0):
            warm = penalty.at(own.strength * factor)
            start = minimise(data, warm, start, 1e-2, 200)
        return minimise(data, own, start, tolerance, max_iterations)
    weights = ClosedForm(data).ridge(values)
    current = np.vstack([weights, np.zeros((1, weights.shape[1]))])
    value, gradient = data.evaluate(current)
    residual = float(np.abs(gradient[:-1] + values * weights).max())
    scale = float(np.abs(data.evaluate(data.start)[1]).max()) or 1.0
    objective = value + 0.5 * float((values * weights**2).sum())
    return Solution(
        weights,
        data.intercepts(current),
        objective,
        value,
        residual / scale,
        0,
        residual <= tolerance * scale,
    )
