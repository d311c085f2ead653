"""One update of `MultiTaskBackward` against the plain step, by what a method needs of gradients.

Every figure is the time of a complete step (forward, gradients, weights, SGD) divided by that of
one plain step (zero_grad, sum of the losses backward, step). All candidates and one plain step run
in rotation on their own copies of the model; rounds whose plain step was disturbed (above 1.6 times
its lower quartile) are dropped; median and quartiles of the ratios within a round are shown. Beside
a time stand the peak of tensor memory above the start of the step (the profiler's memory events,
plus what the engine keeps between steps) in multiples of the trunk's parameters, and the largest
error against separate backward passes: of the Gramian relative to the products of the norms, and of
the shared gradient for the reported weights.

Floors: the forward pass; one backward pass of a weighted sum; heads once and one trunk pass; heads
once and K bare trunk passes. Peers are measured if they can be imported (README of benchmarks).

Run: python -m benchmarks.balancing.engine [--models abc] [--tasks 2 8 40] [--seconds 120]
     [--clock wall|cpu] [--quick] [--write benchmarks/balancing/results.md]
"""

import argparse
import copy
import math
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.balancing.models import Net
from benchmarks.balancing.peers import peers
from polytask import EqualWeights, MultiTaskBackward
from polytask.aggregation import GradDrop, GradNorm, Sum, UPGrad

Body = Callable[[Net], object]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def bare(passes: str) -> Body:
    """Heads once and bare trunk passes, in which nothing is kept or added up."""

    def body(own: Net) -> None:
        z = own.trunk(own.x)
        leaf = z.detach().expand(len(own.heads), *z.shape).requires_grad_()
        losses = [
            nn.functional.mse_loss(head(part)[:, 0], own.y[:, k])
            for k, (part, head) in enumerate(zip(leaf.unbind(), own.heads, strict=True))
        ]
        at_z, *at_heads = torch.autograd.grad(sum(losses), [leaf, *own.heads.parameters()])
        for parameter, gradient in zip(own.heads.parameters(), at_heads, strict=True):
            parameter.grad = gradient
        trunk = list(own.trunk.parameters())
        for gradient in [at_z.sum(0)] if passes == "one" else at_z:
            found = torch.autograd.grad(z, trunk, gradient, retain_graph=True)
        for parameter, gradient in zip(trunk, found, strict=True):
            parameter.grad = gradient

    return body


def weighted_sum(own: Net) -> None:
    sum(0.5 * loss for loss in own.losses()).backward()


def engines(net: Net) -> dict[str, tuple[MultiTaskBackward, str]]:
    """Name → (engine, how losses are handed over)."""
    tasks = len(net.heads)
    trunk = 4 * sum(p.numel() for p in net.trunk.parameters())
    half = tasks * trunk // 2
    return {
        "losses: EqualWeights": (MultiTaskBackward(EqualWeights(tasks)), "plain"),
        "nothing: Sum": (MultiTaskBackward(Sum()), "plain"),
        "norms: GradNorm": (MultiTaskBackward(GradNorm()), "branch"),
        "Gramian: UPGrad": (MultiTaskBackward(UPGrad()), "plain"),
        "Gramian: UPGrad, branch": (MultiTaskBackward(UPGrad()), "branch"),
        "Gramian: UPGrad, budget K·P/2": (
            MultiTaskBackward(UPGrad(), max_gradient_memory=half),
            "plain",
        ),
        "Jacobian: GradDrop": (MultiTaskBackward(GradDrop()), "branch"),
        "representation: UPGrad": (MultiTaskBackward(UPGrad(), at="representation"), "branch"),
        "representation: UPGrad, taps": (MultiTaskBackward(UPGrad(), at="representation"), "taps"),
    }


def call(engine: MultiTaskBackward, own: Net, how: str) -> object:
    if how == "taps":
        z = own.trunk(own.x)
        return engine(own.losses(z), taps=[z])
    return engine(own.losses(branched=how == "branch"))


class Candidate:
    """A step on its own model."""

    def __init__(
        self, net: Net, body: Body, engine: MultiTaskBackward | None = None, how: str = ""
    ):
        self.own = copy.deepcopy(net)
        self.body = body
        self.engine, self.how = engine, how
        self.optimizer = torch.optim.SGD(self.own.parameters(), lr=1e-5)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.body(self.own)
        self.optimizer.step()

    def kept(self) -> int:
        """Bytes that the engine keeps from step to step."""
        if self.engine is None:
            return 0
        rows = (self.engine._parameters.rows, self.engine._representation.rows)
        return sum(one._memory.nbytes for one in rows)


def candidates(net: Net) -> dict[str, Candidate]:
    made = {
        "plain step": Candidate(net, lambda own: sum(own.losses()).backward()),
        "floor: forward": Candidate(net, lambda own: own.losses()),
        "floor: one weighted backward": Candidate(net, weighted_sum),
        "floor: representation": Candidate(net, bare("one")),
        "floor: trunk": Candidate(net, bare("each")),
    }
    for name, (engine, how) in engines(net).items():
        made[name] = Candidate(net, lambda own, e=engine, h=how: call(e, own, h), engine, how)
    for name, make in peers().items():
        peer = made[name] = Candidate(net, weighted_sum)
        peer.body = make(peer.own)
    return made


def peak(candidate: Candidate) -> int:
    """Largest sum of tensor bytes above the level at the start of a step."""
    candidate.optimizer.zero_grad()
    with torch.profiler.profile(profile_memory=True) as profile:
        candidate.step()
    events = profile.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    level = highest = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        level += change
        highest = max(highest, level)
    return highest


def errors(engine: MultiTaskBackward, how: str, net: Net) -> tuple[float, float]:
    """(of the Gramian, of the shared gradient), NaN where there is none; with a new engine."""
    own, fresh = copy.deepcopy(net), copy.deepcopy(net)
    report = call(engine, own, how)
    z = fresh.trunk(fresh.x)
    losses, leaves = fresh.losses(z), list(fresh.trunk.parameters())
    rows = [_flat(torch.autograd.grad(one, leaves, retain_graph=True)) for one in losses]
    jacobian = torch.stack(rows).double()
    if engine.at == "representation":
        seen = [_flat(torch.autograd.grad(one, [z], retain_graph=True)) for one in losses]
        measured = torch.stack(seen).double()
    else:
        measured = jacobian
    at_gramian = float("nan")
    if report.gramian is not None:
        wanted = measured @ measured.T
        norms = wanted.diagonal().sqrt()
        off = (report.gramian - wanted).abs() / norms[:, None] / norms
        diagonal_only = report.gramian.count_nonzero() == len(norms)
        at_gramian = float(off.diagonal().max() if diagonal_only else off.max())
    if report.weights.isnan().any():
        return at_gramian, float("nan")
    direction = report.weights.double() @ jacobian
    got = _flat([p.grad for p in own.trunk.parameters()]).double()
    return at_gramian, float((got - direction).norm() / direction.norm())


def _flat(tensors: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    return torch.cat([one.reshape(-1) for one in tensors])


def rotate(parts: dict[str, Candidate], seconds: float, clock: Callable[[], float]) -> dict:
    """Name → times of the rounds that count."""
    for candidate in parts.values():
        candidate.step()
        candidate.step()
    times: dict[str, list[float]] = {name: [] for name in parts}
    began = time.perf_counter()
    done = 0
    while done < 3 or (done < 150 and time.perf_counter() - began < seconds):
        done += 1
        for name, candidate in parts.items():
            start = clock()
            candidate.step()
            times[name].append(clock() - start)
    plain = times["plain step"]
    bound = 1.6 * statistics.quantiles(plain, n=4)[0]
    kept = [i for i, one in enumerate(plain) if one <= bound]
    kept = kept if len(kept) > 1 else list(range(done))
    return {name: [values[i] for i in kept] for name, values in times.items()}


def lines(model: str, tasks: int, seconds: float, clock: Callable[[], float]) -> Iterator[str]:
    net = Net(model, tasks)
    parameters = 4 * sum(p.numel() for p in net.trunk.parameters())
    parts = candidates(net)
    times = rotate(parts, seconds, clock)
    yield f"\n### Model {model}, K = {tasks}: {len(times['plain step'])} rounds, plain step " + (
        f"{1e3 * statistics.median(times['plain step']):.1f} ms\n"
    )
    yield "| step | ratio | quartiles | peak / P | error of G | error of the update |"
    yield "|---|---|---|---|---|---|"
    for name, candidate in parts.items():
        pairs = zip(times[name], times["plain step"], strict=True)
        low, middle, high = statistics.quantiles([own / plain for own, plain in pairs], n=4)
        memory = (peak(candidate) + candidate.kept()) / parameters
        wrong = ("", "")
        if candidate.engine is not None:
            found = errors(*engines(net)[name], net)
            wrong = tuple("–" if math.isnan(one) else f"{one:.0e}" for one in found)
        yield (
            f"| {name} | {middle:.2f} | {low:.2f} … {high:.2f} | {memory:.1f} | {wrong[0]} | "
            f"{wrong[1]} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default="abc")
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 8, 40])
    parser.add_argument("--seconds", type=float, default=120.0, help="per model and K")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--quick", action="store_true", help="model a, K = 2 and 8, 15 s each")
    parser.add_argument("--write", type=Path, help="Markdown file; printed in any case")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.models, chosen.tasks, chosen.seconds = "a", [2, 8], 15.0
    warnings.simplefilter("ignore")
    threads = torch.get_num_threads()
    began = time.perf_counter()
    text = [
        "# What an update costs\n",
        f"    {' '.join(['python -m benchmarks.balancing.engine', *sys.argv[1:]])}\n",
        f"torch {torch.__version__}, {threads} thread{'s' if threads > 1 else ''}, "
        f"{platform.machine()}, {os.cpu_count()} cores, {chosen.clock} clock, load at the start "
        f"{os.getloadavg()[0]:.1f}. Times are ratios to a plain step; P is the size of the trunk.",
    ]
    print("\n".join(text), flush=True)
    for model in chosen.models:
        for tasks in chosen.tasks:
            for line in lines(model, tasks, chosen.seconds, CLOCKS[chosen.clock]):
                text.append(line)
                print(line, flush=True)
    text.append(f"\n{(time.perf_counter() - began) / 60:.0f} minutes in all.")
    print(text[-1])
    if chosen.write:
        chosen.write.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
