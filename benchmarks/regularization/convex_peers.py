"""Joint features with different rows per task against celer's group lasso, and against its time.

python -m benchmarks.regularization.convex_peers       (needs celer)

The same problem as one group lasso on a block-diagonal design: group = one feature across tasks.
"""

import time

import numpy as np
from celer import GroupLasso

from polytask.regularization.convex import L21, Problem, solve


def block_diagonal(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Rows of (1/2N)‖y − Xw‖² that give the problem's data term, intercepts eliminated."""
    blocks, targets = [], []
    for task in range(problem.outputs):
        rows = np.flatnonzero(problem.weights[:, task])
        weights = problem.weights[rows, task]
        inputs, target = problem.inputs[rows], problem.targets[rows, task]
        root = np.sqrt(weights)[:, None]
        inputs = (inputs - weights @ inputs / weights.sum()) * root
        target = (target - weights @ target / weights.sum()) * root[:, 0]
        blocks.append(inputs)
        targets.append(target)
    design = np.zeros((sum(map(len, blocks)), problem.features * problem.outputs))
    begin = 0
    for task, block in enumerate(blocks):
        design[begin : begin + len(block), task :: problem.outputs] = block
        begin += len(block)
    root = np.sqrt(len(design))
    return np.asfortranarray(design * root), np.concatenate(targets) * root


def small() -> Problem:
    """The problem of tests/golden/test_convex_peers.py."""
    random = np.random.default_rng(7)
    truth = random.normal(size=(6, 3))
    truth[3:] = 0
    inputs = [random.normal(size=(rows, 6)).round(3) for rows in (12, 20, 15)]
    noise = [0.3 * random.normal(size=len(x)) for x in inputs]
    targets = [(x @ truth[:, t] + noise[t]).round(3) for t, x in enumerate(inputs)]
    return Problem.separate(inputs, targets, mean=True)


def large() -> Problem:
    """40 tasks with 30 to 69 rows of 60 features."""
    random = np.random.default_rng(8)
    truth = random.normal(size=(60, 40))
    truth[15:] = 0
    inputs = [random.normal(size=(30 + task, 60)) for task in range(40)]
    targets = [x @ truth[:, t] + random.normal(size=len(x)) for t, x in enumerate(inputs)]
    return Problem.separate(inputs, targets, mean=True)


def main() -> None:
    """Prints the comparison and the frozen reference of the golden test."""
    print("| problem | λ | largest difference | same zero rows | ours s | celer s |")
    print("|" + " --- |" * 6)
    for name, problem, strength in (("small", small(), 0.25), ("large", large(), 1.0)):
        begun = time.perf_counter()
        ours = solve(problem, L21(strength), tolerance=1e-11).weights
        seconds = time.perf_counter() - begun
        design, target = block_diagonal(problem)
        begun = time.perf_counter()
        peer = GroupLasso(
            groups=problem.outputs,
            alpha=strength,
            tol=1e-13,
            max_iter=1000,
            max_epochs=500_000,
            fit_intercept=False,
        ).fit(design, target)
        other = time.perf_counter() - begun
        theirs = peer.coef_.reshape(problem.features, problem.outputs)
        same = np.array_equal((ours == 0).all(1), (theirs == 0).all(1))
        print(
            f"| {name} | {strength:g} | {np.abs(ours - theirs).max():.1e} | {same} "
            f"({int((ours == 0).all(1).sum())}) | {seconds:.2f} | {other:.2f} |"
        )
        if name == "small":
            frozen = theirs.round(10).tolist()
    print("\nFROZEN =", frozen)


if __name__ == "__main__":
    main()
