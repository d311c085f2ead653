"""What a solve costs, as a ratio to one NumPy matrix product of the same size, and how exact it is.

    python benchmarks/solvers/solvers.py [--tasks 2 8 40] [--problems 15] [--markdown FILE]

Random Gramians with much conflict (Gaussian gradients, tasks x max(3, 1.5 tasks), sizes spread over
a decade), float64. The floor is timed between the solvers, call by call, so that other load on the
machine hits both; ratios can be compared between machines, microseconds cannot. If torchjd can be
imported (install it into another environment: it is no dependency), its aggregators are timed on
the same Gramians. `error` is the residual of each problem's own optimality conditions, worst of all
problems; for torchjd it is the largest relative difference to our weights.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from polytask._linalg import (
    Solution,
    pcgrad_weights,
    solve_aligned_mtl,
    solve_cagrad,
    solve_config,
    solve_dualproj,
    solve_fair,
    solve_imtl_g,
    solve_min_norm,
    solve_nash,
    solve_upgrad,
    vaccine_weights,
)

EPS = float(np.finfo(np.float64).eps)
Solver = Callable[[np.ndarray], Solution]


def solvers(tasks: int) -> dict[str, Solver]:
    u, ones = np.full(tasks, 1.0 / tasks), np.ones(tasks)
    rng = np.random.default_rng(0)
    order = np.array([rng.permutation(np.delete(np.arange(tasks), i)) for i in range(tasks)])
    targets = np.zeros((tasks, tasks))

    def exact(weights: np.ndarray) -> Solution:
        return Solution(weights, 0.0, frozenset())

    return {
        "UPGrad": lambda g: solve_upgrad(g, u, EPS),
        "DualProj": lambda g: solve_dualproj(g, u, EPS),
        "MGDA": lambda g: solve_min_norm(g, EPS),
        "CAGrad": lambda g: solve_cagrad(g, 0.5, EPS),
        "NashMTL": lambda g: solve_nash(g, EPS),
        "FairGrad(2)": lambda g: solve_fair(g, 2.0, EPS),
        "IMTLG": lambda g: solve_imtl_g(g, EPS),
        "ConFIG": lambda g: solve_config(g, ones, EPS),
        "AlignedMTL": lambda g: solve_aligned_mtl(g, u, "min", EPS),
        "PCGrad": lambda g: exact(pcgrad_weights(g, order)),
        "GradVac": lambda g: exact(vaccine_weights(g, targets, order, 0.5)[0]),
    }


def peers() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """torchjd's weightings by our names, if it is installed."""
    if importlib.util.find_spec("torchjd") is None:
        return {}
    from torchjd import aggregation as jd

    names = {
        "UPGrad": jd.UPGradWeighting,
        "DualProj": jd.DualProjWeighting,
        "MGDA": jd.MGDAWeighting,
        "CAGrad": lambda: jd.CAGradWeighting(c=0.5),
        "IMTLG": jd.IMTLGWeighting,
        "AlignedMTL": jd.AlignedMTLWeighting,
        "PCGrad": jd.PCGradWeighting,
    }
    found = {}
    for name, build in names.items():
        try:
            found[name] = build()
        except (AttributeError, ImportError) as error:
            print(f"torchjd: {name} skipped: {error}")
    return found


def problems(tasks: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(tasks)
    rows = [
        rng.standard_normal((tasks, max(3, (3 * tasks) // 2))) * 10.0 ** rng.random((tasks, 1))
        for _ in range(count)
    ]
    return [row @ row.T for row in rows]


def clock(call: Callable[..., object], gramian: np.ndarray | torch.Tensor) -> float:
    start = time.perf_counter()
    call(gramian)
    return time.perf_counter() - start


def measure(tasks: int, count: int, repeats: int = 7) -> list[tuple[str, float, float, float]]:
    """Name, microseconds, ratio to the floor and worst residual of every solver."""
    gramians = problems(tasks, count)
    table = []
    for name, solve in solvers(tasks).items():
        solve(gramians[0])
        costs, floors, worst = [], [], 0.0
        for gramian in gramians:
            pairs = [
                (clock(solve, gramian), clock(lambda g: g @ g, gramian)) for _ in range(repeats)
            ]
            costs.append(min(cost for cost, _ in pairs))
            floors.append(min(floor for _, floor in pairs))
            worst = max(worst, solve(gramian).residual)
        cost, floor = float(np.median(costs)), float(np.median(floors))
        table.append((name, 1e6 * cost, cost / floor, worst))
    for name, weigh in peers().items():
        ours = solvers(tasks)[name]
        costs, worst = [], 0.0
        for gramian in gramians:
            tensor = torch.from_numpy(gramian)
            costs.append(min(clock(weigh, tensor) for _ in range(3)))
            mine = ours(gramian).weights
            worst = max(worst, float(np.abs(weigh(tensor).numpy() - mine).max() / mine.max()))
        cost, floor = float(np.median(costs)), float(np.median(floors))
        table.append((f"torchjd {name}", 1e6 * cost, cost / floor, worst))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 8, 40])
    parser.add_argument("--problems", type=int, default=15)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| tasks | solver | µs | ratio to G @ G | error |", "| --- | --- | --- | --- | --- |"]
    for tasks in arguments.tasks:
        for name, cost, ratio, worst in measure(tasks, arguments.problems):
            lines.append(f"| {tasks} | {name} | {cost:.0f} | {ratio:.0f} | {worst:.0e} |")
    text = "\n".join(lines)
    print(text)
    if arguments.markdown is not None:
        arguments.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
