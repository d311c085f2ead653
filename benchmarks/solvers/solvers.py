"""What a solve costs, beside a matrix product and beside the solvers of torchjd and LibMTL.

    python -m benchmarks.solvers.solvers [--tasks 2 8 40] [--problems 15] [--markdown FILE]
    python -m benchmarks.solvers.solvers --calls      (how many Python calls a solve makes)

Random Gramians with much conflict (Gaussian gradients, tasks x max(3, 1.5 tasks), sizes spread over
a decade), float64, one thread. Per problem, the solver, one NumPy product G @ G and the peers are
timed one after another, so that other load on the machine hits all of them; the table holds medians
over the problems of the fastest round of each (3 rounds; a peer is not asked again after 0.2 s).
Ratios can be compared between machines, microseconds cannot. `error` is the residual of each
problem's own optimality conditions.

Peers take part if they can be imported (they are no dependencies): torchjd from an environment
with `torchjd[full]==0.18.0`, LibMTL from a checkout that the variable LIBMTL names. torchjd is
timed from the Gramian where it takes one, else (ConFIG, Nash-MTL) from a Jacobian of this size;
LibMTL computes the Gramian of that Jacobian within the time.
"""

import argparse
import cProfile
import importlib.util
import pstats
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from benchmarks.libmtl import libmtl_weighting

from polytask._linalg import (
    Solution,
    pcgrad_weights,
    solve_aligned_mtl,
    solve_cagrad,
    solve_config,
    solve_dualproj,
    solve_fair,
    solve_imtl_g,
    solve_krum,
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
        "Krum": lambda g: solve_krum(g, 0, 1, True, EPS),
        "PCGrad": lambda g: exact(pcgrad_weights(g, order)),
        "GradVac": lambda g: exact(vaccine_weights(g, targets, order, 0.5)[0]),
    }


def torchjd_peers() -> dict[str, Callable[[torch.Tensor, torch.Tensor], object]]:
    """Name: call on (Gramian, Jacobian)."""
    if importlib.util.find_spec("torchjd") is None:
        return {}
    from torchjd import aggregation as jd

    return {
        "UPGrad": lambda g, _: jd.UPGradWeighting()(g),
        "DualProj": lambda g, _: jd.DualProjWeighting()(g),
        "MGDA": lambda g, _: jd.MGDAWeighting()(g),
        "CAGrad": lambda g, _: jd.CAGradWeighting(c=0.5)(g),
        "NashMTL": lambda _, j: jd.NashMTL(n_tasks=len(j))(j),
        "FairGrad(2)": lambda g, _: jd.FairGradWeighting(alpha=2.0)(g),
        "IMTLG": lambda g, _: jd.IMTLGWeighting()(g),
        "ConFIG": lambda _, j: jd.ConFIG()(j),
        "AlignedMTL": lambda g, _: jd.AlignedMTLWeighting()(g),
        "Krum": lambda g, _: jd.KrumWeighting(n_byzantine=0, n_selected=1)(g),
        "PCGrad": lambda g, _: jd.PCGradWeighting()(g),
        "GradVac": lambda g, _: jd.GradVacWeighting()(g),
    }


def libmtl_peers() -> dict[str, Callable[[torch.Tensor, torch.Tensor], object]]:
    """LibMTL's methods without its trainer: the gradients are handed in, the result is dropped."""
    weighting = libmtl_weighting()
    if weighting is None:
        return {}

    def call(name: str, **options: object) -> Callable[[torch.Tensor, torch.Tensor], object]:
        def run(_: torch.Tensor, jacobian: torch.Tensor) -> object:
            method = getattr(weighting, name)()
            method.task_num, method.device, method.rep_grad = len(jacobian), "cpu", False
            method.init_param()
            method._compute_grad_dim = lambda: None
            method._compute_grad = lambda *_, **__: jacobian.clone()
            method._get_grads = lambda *_, **__: jacobian.float()  # MGDA starts in this dtype
            method.get_share_params = method.zero_grad_share_params = list
            method._backward_new_grads = lambda *_, **__: None
            method._reset_grad = lambda *_: None
            losses = torch.ones(len(jacobian), dtype=torch.float64, requires_grad=True)
            return method.backward(losses, **options)

        return run

    return {
        "UPGrad": call("UPGrad", UPGrad_norm_eps=1e-4, UPGrad_reg_eps=1e-4),
        "MGDA": call("MGDA", mgda_gn="none"),
        "CAGrad": call("CAGrad", calpha=0.5, rescale=0),
        "NashMTL": call("Nash_MTL", update_weights_every=1, optim_niter=20, max_norm=1.0),
        "FairGrad(2)": call("FairGrad", FairGrad_alpha=2.0),
        "PCGrad": call("PCGrad"),
        "GradVac": call("GradVac", GradVac_beta=0.5, GradVac_group_type=0),
        # Its Aligned_MTL calls torch.symeig, which torch has removed.
    }


def problems(tasks: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(tasks)
    return [
        rng.standard_normal((tasks, max(3, (3 * tasks) // 2))) * 10.0 ** rng.random((tasks, 1))
        for _ in range(count)
    ]


def clock(call: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def measure(tasks: int, count: int, rounds: int = 3) -> list[tuple[str, list[float], float]]:
    """Name, median seconds (ours, product, torchjd, LibMTL; NaN: not taken) and worst residual."""
    table = []
    for name, solve in solvers(tasks).items():
        peers = [found.get(name) for found in (torchjd_peers(), libmtl_peers())]
        times: list[list[float]] = []
        worst = 0.0
        for jacobian in problems(tasks, count):
            gramian = jacobian @ jacobian.T
            tensors = torch.from_numpy(gramian), torch.from_numpy(jacobian)
            best = [np.inf, np.inf, np.inf, np.inf]
            for _ in range(rounds):
                best[0] = min(best[0], clock(solve, gramian))
                best[1] = min(best[1], clock(lambda g: g @ g, gramian))
                for index, peer in enumerate(peers, start=2):
                    if peer is not None and not 0.2 < best[index] < np.inf:
                        try:
                            best[index] = min(best[index], clock(peer, *tensors))
                        except Exception as error:  # noqa: BLE001 (a peer's failure is its result)
                            print(f"{name}, {tasks} tasks: {type(error).__name__}: {error}")
                            peers[index - 2] = None
            worst = max(worst, solve(gramian).residual)
            times.append(best)
        median = np.median(np.array(times), axis=0)
        table.append((name, [float(x) if np.isfinite(x) else np.nan for x in median], worst))
    return table


def calls(tasks: int, count: int) -> None:
    """Prints, per solver, median Python calls of a solve and the function that takes most time."""
    for name, solve in solvers(tasks).items():
        found, total = [], cProfile.Profile()
        for jacobian in problems(tasks, count):
            gramian, profile = jacobian @ jacobian.T, cProfile.Profile()
            solve(gramian)
            profile.runcall(solve, gramian)
            total.runcall(solve, gramian)
            found.append(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
        own = {place[2]: numbers[2] for place, numbers in pstats.Stats(total).stats.items()}  # type: ignore[attr-defined]
        most = max(own, key=lambda function: own[function])
        share = 100 * own[most] / sum(own.values())
        print(f"| {tasks} | {name} | {np.median(found):.0f} | {most} ({share:.0f} %) |")


def ratio(peer: float, ours: float) -> str:
    return (
        "" if np.isnan(peer) else f"{peer / ours:.1f}" if peer < 10 * ours else f"{peer / ours:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 8, 40])
    parser.add_argument("--problems", type=int, default=15)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--calls", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.calls:
        print("| tasks | solver | Python calls | most time in |\n| --- | --- | --- | --- |")
        for tasks in arguments.tasks:
            calls(tasks, arguments.problems)
        return
    lines = [
        "| tasks | solver | µs | ratio to G @ G | torchjd / ours | LibMTL / ours | error |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for tasks in arguments.tasks:
        for name, (ours, floor, theirs, libmtl), worst in measure(tasks, arguments.problems):
            cells = [f"{1e6 * ours:.0f}", f"{ours / floor:.0f}"]
            cells += [ratio(theirs, ours), ratio(libmtl, ours), f"{worst:.0e}"]
            lines.append(f"| {tasks} | {name} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    text = "\n".join(lines)
    if arguments.markdown is not None:
        arguments.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
