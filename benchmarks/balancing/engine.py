"""A step of `MultiTaskBackward` against the plain step and the floors, by what a method needs.

Model a: three Linear-ReLU layers of width 256 on 64 inputs, 256 rows, K heads Linear(256, 1), mean
squared error, SGD. Every figure is the ratio to one plain step (zero_grad, sum of the losses
backward, step) of a complete step, forward included. All candidates and one plain step run in
rotation on their own copies of the model; the median of the ratios within a round and its
quartiles. Beside every time stands the relative error of the shared gradient against stacked
separate backward passes. Floors: forward and losses only; one backward of the weighted sum; heads
once and K bare trunk passes.
Run: python -m benchmarks.balancing.engine [a|b|c] [rounds]
"""

import copy
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from polytask import EqualWeights, MultiTaskBackward, branch
from polytask.aggregation import MGDA, GradDrop, GradNorm, Sum, UPGrad

Step = Callable[[], None]


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.one = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.n1, self.n2 = nn.BatchNorm2d(o), nn.BatchNorm2d(o)
        same = stride == 1 and i == o
        short = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
        self.short = nn.Identity() if same else short

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.n1(self.one(x)))
        return torch.relu(self.n2(self.two(y)) + self.short(x))


def trunk_of(model: str) -> tuple[nn.Module, Tensor, int]:
    if model == "c":
        layers: list[nn.Module] = [
            nn.Conv2d(3, 16, 3, 1, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        ]
        width = 16
        for w in (16, 32, 64, 128):
            layers += [Basic(width, w, 1 if w == 16 else 2), Basic(w, w, 1)]
            width = w
        trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return trunk, torch.randn(64, 3, 32, 32), 128
    depth, width, inputs, rows = {"a": (3, 256, 64, 256), "b": (4, 1024, 512, 512)}[model]
    layers = []
    for layer in range(depth):
        layers += [nn.Linear(inputs if layer == 0 else width, width), nn.ReLU()]
    return nn.Sequential(*layers), torch.randn(rows, inputs), width


class Net(nn.Module):
    def __init__(self, model: str, tasks: int):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.x, width = trunk_of(model)
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(tasks))
        self.y = torch.randn(len(self.x), tasks)
        self.names = [str(k) for k in range(tasks)]

    def losses(self, z: Tensor | None = None, branched: bool = False) -> list[Tensor]:
        z = self.trunk(self.x) if z is None else z
        zs = branch(z, self.names) if branched else dict.fromkeys(self.names, z)
        return [
            nn.functional.mse_loss(head(zs[name])[:, 0], self.y[:, k])
            for k, (name, head) in enumerate(zip(self.names, self.heads, strict=True))
        ]


def candidates(net: Net) -> dict[str, tuple[nn.Module, Step]]:
    """Name → (its own model, its step)."""
    made: dict[str, tuple[nn.Module, Step]] = {}

    def add(name: str, body: Callable[[Net], object]) -> None:
        own = copy.deepcopy(net)
        optimizer = torch.optim.SGD(own.parameters(), lr=1e-5)

        def step() -> None:
            optimizer.zero_grad()
            body(own)
            optimizer.step()

        made[name] = (own, step)

    def bare(own: Net) -> None:
        z = own.trunk(own.x)
        leaf = z.detach().expand(len(own.heads), *z.shape).requires_grad_()
        losses = [
            nn.functional.mse_loss(head(slice_)[:, 0], own.y[:, k])
            for k, (slice_, head) in enumerate(zip(leaf.unbind(), own.heads, strict=True))
        ]
        (at_z,) = torch.autograd.grad(sum(losses), leaf)
        for g in at_z:
            torch.autograd.grad(z, list(own.trunk.parameters()), g, retain_graph=True)

    add("plain step", lambda own: sum(own.losses()).backward())
    add("floor: forward", lambda own: own.losses())
    add("floor: K bare trunk passes", bare)
    tasks = len(net.heads)
    engines = {
        "losses: EqualWeights": (MultiTaskBackward(EqualWeights(tasks)), False),
        "nothing: Sum": (MultiTaskBackward(Sum()), False),
        "nothing: Sum, branch": (MultiTaskBackward(Sum()), True),
        "norms: GradNorm, branch": (MultiTaskBackward(GradNorm()), True),
        "Gramian: MGDA": (MultiTaskBackward(MGDA()), False),
        "Gramian: MGDA, branch": (MultiTaskBackward(MGDA()), True),
        "Gramian: UPGrad, branch": (MultiTaskBackward(UPGrad()), True),
        "Gramian: UPGrad, branch, one backward": (
            MultiTaskBackward(UPGrad(), update="backward"),
            True,
        ),
        "Jacobian: GradDrop, branch": (MultiTaskBackward(GradDrop()), True),
        "representation: UPGrad, branch": (MultiTaskBackward(UPGrad(), at="representation"), True),
    }
    for name, (engine, branched) in engines.items():
        add(name, lambda own, e=engine, b=branched: e(own.losses(branched=b)))
    tapped = MultiTaskBackward(UPGrad(), at="representation")

    def with_taps(own: Net) -> None:
        z = own.trunk(own.x)
        tapped(own.losses(z), taps=[z])

    add("representation: UPGrad, taps", with_taps)
    return made


def error(net: Net) -> float:
    """Largest relative error of the shared gradient, against separate passes."""
    worst = 0.0
    for branched in (False, True):
        own, fresh = copy.deepcopy(net), copy.deepcopy(net)
        report = MultiTaskBackward(MGDA())(own.losses(branched=branched))
        losses, leaves = fresh.losses(), list(fresh.trunk.parameters())
        rows = [torch.autograd.grad(one, leaves, retain_graph=True) for one in losses]
        wanted = torch.cat(
            [
                sum(w * g for w, g in zip(report.weights, column, strict=True)).flatten()
                for column in zip(*rows, strict=True)
            ]
        )
        got = torch.cat([p.grad.flatten() for p in own.trunk.parameters()])
        worst = max(worst, float((got - wanted).norm() / wanted.norm()))
    return worst


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in "abc" else "a"
    limit = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    print(f"Model {model}, {torch.get_num_threads()} threads\n")
    print("| step | K | ratio, median | quartiles | rounds |\n|---|---|---|---|---|")
    for tasks in (2, 8, 40):
        net = Net(model, tasks)
        parts = candidates(net)
        for _ in range(2):
            for _, step in parts.values():
                step()
        ratios: dict[str, list[float]] = {name: [] for name in parts}
        plain: list[float] = []
        began = time.perf_counter()
        rounds = 0
        while rounds < limit and (rounds < 5 or time.perf_counter() - began < 40):
            rounds += 1
            times = {}
            for name, (_, step) in parts.items():
                start = time.perf_counter()
                step()
                times[name] = time.perf_counter() - start
            plain.append(times["plain step"])
            for name in parts:
                ratios[name].append(times[name] / times["plain step"])
        # A round whose plain step was disturbed says nothing.
        bound = 1.6 * statistics.quantiles(plain, n=4)[0]
        kept = [i for i, seconds in enumerate(plain) if seconds <= bound]
        for name, values in ratios.items():
            low, middle, high = statistics.quantiles([values[i] for i in kept], n=4)
            row = f"| {name} | {tasks} | {middle:.2f} | {low:.2f} … {high:.2f} | {len(kept)} |"
            print(row, flush=True)
        print(f"| error of the shared gradient | {tasks} | {error(net):.0e} | | |", flush=True)


if __name__ == "__main__":
    main()
