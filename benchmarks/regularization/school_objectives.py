"""Objectives of convex multi-task models on School beside the reference values.

POLYTASK_DATA=/path/to/data python -m benchmarks.regularization.school_objectives

Every school is a task; columns 1 to 27 are z-scored per school (ddof 1, constant columns 0), y is
centred per school; objective ½ Σ ‖X_t w_t − y_t‖² + λ R. Objectives are unique, coefficients not.
"""

import time
from itertools import pairwise

import numpy as np

from benchmarks.data_folder import data_folder
from polytask.regularization.convex import (
    L21,
    ConvexPenalty,
    ElasticNet,
    NuclearNorm,
    Problem,
    lambda_max,
    solve,
)

# penalty, λ, objective, data term, zero rows, rank
REFERENCE: list[tuple[str, float, float, float, int | None, int | None]] = [
    ("l21", 1000, 845873.461096, 726475.334810, 11, 15),
    ("l21", 500, 772528.219342, 683769.942039, 8, 18),
    ("l21", 300, 734190.441505, 672258.471992, 8, 18),
    ("l21", 100, 689647.771898, 665643.775839, 8, 18),
    ("nuclear", 1000, 804071.734280, 712977.260766, 6, 11),
    ("nuclear", 500, 748357.617309, 680681.428303, 6, 14),
    ("nuclear", 300, 718966.614361, 671176.667991, 6, 15),
    ("nuclear", 100, 684332.295364, 665524.324918, 6, 15),
    ("l1", 300, 980666.920034, 839872.759061, None, None),
    ("l1", 100, 828948.616579, 709284.538496, None, None),
    ("l1", 30, 725016.235660, 670198.303518, None, None),
]
LARGEST = {"l21": 8354.862621, "nuclear": 11231.552984, "l1": 1589.556241}
ZERO = 1100053.859462
PENALTIES: dict[str, ConvexPenalty] = {
    "l21": L21(0.0),
    "nuclear": NuclearNorm(0.0),
    "l1": ElasticNet(0.0),
}


def read_school() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per school the inputs without the constant column, and the scores."""
    import pandas as pd

    frame = pd.read_csv(data_folder() / "school" / "school.csv.gz")
    columns = [f"x{i}" for i in range(27)]
    parts = [part for _, part in frame.groupby("school", sort=True)]
    return [p[columns].to_numpy(float) for p in parts], [p["y"].to_numpy(float) for p in parts]


def z_scored(inputs: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 (ddof 1); constant columns become 0."""
    deviation = inputs.std(0, ddof=1)
    constant = inputs.max(0) == inputs.min(0)
    return np.where(constant, 0.0, (inputs - inputs.mean(0)) / np.where(constant, 1.0, deviation))


def school_problem() -> Problem:
    """The problem of the reference values."""
    inputs, targets = read_school()
    return Problem.separate([z_scored(x) for x in inputs], [y - y.mean() for y in targets])


def main() -> None:
    """Prints the table."""
    problem = school_problem()
    zero = 0.5 * float((problem.targets**2).sum())
    print(
        f"W = 0: {zero:.6f}, reference {ZERO:.6f}, relative difference {abs(zero / ZERO - 1):.1e}"
    )
    for name, penalty in PENALTIES.items():
        largest = lambda_max(problem, penalty)
        print(f"λ_max {name}: {largest:.6f}, reference {LARGEST[name]:.6f}")
    print(
        "\n| R | λ | objective | reference | rel. | data term | reference | rel. "
        "| zero rows | rank | residual | steps | s |"
    )
    print("|" + " --- |" * 13)
    solution = None
    for before, row in pairwise([None, *REFERENCE]):
        assert row is not None
        name, strength, objective, data, rows, rank = row
        if before is None or before[0] != name:
            solution = None
        begun = time.perf_counter()
        solution = solve(
            problem,
            PENALTIES[name].at(strength),
            start=solution,
            tolerance=1e-9,
            max_iterations=100_000,
        )
        seconds = time.perf_counter() - begun
        values = np.linalg.svd(solution.weights, compute_uv=False)
        empty = int((np.abs(solution.weights).max(1) < 1e-9).sum())
        found = int((values > 1e-7 * values[0]).sum())
        print(
            f"| {name} | {strength:g} | {solution.objective:.6f} | {objective:.6f} "
            f"| {abs(solution.objective / objective - 1):.1e} | {solution.data_term:.6f} "
            f"| {data:.6f} | {abs(solution.data_term / data - 1):.1e} "
            f"| {empty} ({rows}) | {found} ({rank}) | {solution.residual:.1e} "
            f"| {solution.iterations} | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
