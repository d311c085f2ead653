"""Linear models on School: explained variance and weighted RMSE over random splits.

POLYTASK_DATA=/path/to/data python -m benchmarks.regularization.school_linear

Inputs are z-scored per school on all rows, test rows among them (so the figures are optimistic,
for every model alike); λ by one inner 80/20 split; every split is made inside each school. EV is
1 − SSE/SST over all test pupils; the weighted RMSE is the mean over schools, weighted by pupils.
"""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.regularization.school_objectives import read_school, z_scored
from polytask.regularization.convex import (
    L21,
    ConvexPenalty,
    DataTerm,
    MeanRegularised,
    NuclearNorm,
    Problem,
    Ridge,
)
from polytask.regularization.convex.path import walk

Parts = list[np.ndarray]
Predictor = Callable[[Parts, Parts, Parts, float], Parts]
GRID = np.logspace(4, 0, 17)
REFERENCE = {
    "mean of each school": ("0.095 ± .010 | 11.93", "0.081 ± .004 | 12.10"),
    "ridge, penalised intercept": ("0.254 ± .010 | 10.80", "0.021 ± .007 | 12.43"),
    "ridge, free intercept": ("0.335 ± .011 | 10.23", "0.271 ± .006 | 10.79"),
    "one model for all": ("0.271 ± .012 | 10.68", "0.263 ± .005 | 10.81"),
    "L2,1, free intercept": ("0.355 ± .010 | 10.08", "0.315 ± .003 | 10.46"),
    "trace, free intercept": ("0.364 ± .010 | 10.01", "0.335 ± .004 | 10.31"),
    "mean-regularised, free intercept": ("0.373 ± .010 | 9.93", "0.356 ± .004 | 10.15"),
}


def convex(penalty: ConvexPenalty):
    """Predictions for every λ of a falling grid."""

    def fit(inputs: Parts, targets: Parts, unseen: Parts, grid: np.ndarray) -> list[Parts]:
        problem = Problem.separate(inputs, targets)
        found = walk(DataTerm(problem), penalty, grid, 1e-4, 3000)
        return [[x @ s.weights[:, t] + s.biases[t] for t, x in enumerate(unseen)] for s in found]

    return fit


def pooled(inputs: Parts, targets: Parts, unseen: Parts, grid: np.ndarray) -> list[Parts]:
    """One ridge model."""
    problem = Problem.separate([np.concatenate(inputs)], [np.concatenate(targets)])
    found = walk(DataTerm(problem), Ridge(0.0), grid, 1e-4, 3000)
    return [[x @ s.weights[:, 0] + s.biases[0] for x in unseen] for s in found]


def penalised(inputs: Parts, targets: Parts, unseen: Parts, grid: np.ndarray) -> list[Parts]:
    """Ridge per school with the intercept as a column like the others: the mistake."""
    answers: list[Parts] = [[] for _ in grid]
    for plain, y, other in zip(inputs, targets, unseen, strict=True):
        x, new = (np.hstack([part, np.ones((len(part), 1))]) for part in (plain, other))
        for answer, strength in zip(answers, grid, strict=True):
            w = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
            answer.append(new @ w)
    return answers


def means(inputs: Parts, targets: Parts, unseen: Parts, grid: np.ndarray) -> list[Parts]:
    """The mean of the school's training scores."""
    assert len(inputs) == len(targets)
    return [[np.full(len(x), y.mean()) for x, y in zip(unseen, targets, strict=True)]] * len(grid)


MODELS = {
    "mean of each school": means,
    "ridge, penalised intercept": penalised,
    "ridge, free intercept": convex(Ridge(0.0)),
    "one model for all": pooled,
    "L2,1, free intercept": convex(L21(0.0)),
    "trace, free intercept": convex(NuclearNorm(0.0)),
    "mean-regularised, free intercept": convex(MeanRegularised(0.0)),
}


def split(sizes: list[int], share: float, random: np.random.Generator) -> list[Parts]:
    """Per school the positions of seen and unseen rows."""
    result = []
    for size in sizes:
        order = random.permutation(size)
        cut = min(max(round(share * size), 1), size - 1)
        result.append([order[:cut], order[cut:]])
    return result


def scores(answers: Parts, truth: Parts) -> tuple[float, float]:
    """Explained variance and weighted RMSE."""
    errors = [a - y for a, y in zip(answers, truth, strict=True)]
    pooled_truth = np.concatenate(truth)
    total = ((pooled_truth - pooled_truth.mean()) ** 2).sum()
    rmse = [len(e) * np.sqrt((e**2).mean()) for e in errors]
    return 1 - float((np.concatenate(errors) ** 2).sum() / total), sum(rmse) / len(pooled_truth)


def evaluate(inputs: Parts, targets: Parts, share: float, splits: int) -> dict[str, np.ndarray]:
    """Per model ``[splits, 2]``."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in MODELS}
    sizes = [len(y) for y in targets]
    for seed in range(splits):
        random = np.random.default_rng(seed)
        outer = split(sizes, share, random)
        seen = [a for a, _ in outer]
        inner = split([len(a) for a in seen], 0.8, random)

        def rows(parts: Parts, chosen: Parts) -> Parts:
            return [part[positions] for part, positions in zip(parts, chosen, strict=True)]

        x, y = rows(inputs, seen), rows(targets, seen)
        new, truth = (rows(parts, [b for _, b in outer]) for parts in (inputs, targets))
        fitted, held = [a for a, _ in inner], [b for _, b in inner]
        for name, model in MODELS.items():
            tried = model(rows(x, fitted), rows(y, fitted), rows(x, held), GRID)
            best = int(np.argmax([scores(answer, rows(y, held))[0] for answer in tried]))
            results[name].append(scores(model(x, y, new, GRID[: best + 1])[-1], truth))
    return {name: np.array(values) for name, values in results.items()}


def main() -> None:
    """Prints the table."""
    inputs, targets = read_school()
    inputs = [z_scored(x) for x in inputs]
    tables = []
    for share, splits in ((0.75, 10), (0.3, 5)):
        begun = time.perf_counter()
        tables.append(evaluate(inputs, targets, share, splits))
        print(f"{share:.0%}: {splits} splits in {time.perf_counter() - begun:.0f} s", flush=True)
    print("\n| model | EV 75 % | RMSE | EV 30 % | RMSE | reference 75 % | RMSE | 30 % | RMSE |")
    print("|" + " --- |" * 9)
    for name in MODELS:
        cells = []
        for table in tables:
            (ev, rmse), deviation = table[name].mean(0), table[name][:, 0].std(ddof=1)
            cells.append(f"{ev:.3f} ± {deviation:.3f} | {rmse:.2f}")
        print(f"| {name} | {' | '.join(cells)} | {' | '.join(REFERENCE[name])} |")


if __name__ == "__main__":
    main()
