"""A training step of TabM with 32 members against one of a single MLP of equal width.

Both: 28 numeric columns, 3 × 256, dropout 0.1, one regression task, batch 256, fused AdamW, one
thread; squared error, mean over members. Rounds are interleaved; the ratio is taken within each
round. Then the share of each kind of operation in the ensemble's step.
Run: python -m benchmarks.regularization.ensemble
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from polytask.backbones import MLP, Backbone, TabM, piecewise_bins
from polytask.optim import OptimizerSpec
from polytask.sharing import MultiTaskModel
from polytask.tasks import Regression

FEATURES, WIDTH, DEPTH, BATCH, MEMBERS = 28, 256, 3, 256, 32
ROUNDS, STEPS = 9, 2

Step = Callable[[], None]


def training(backbone: Backbone, x: Tensor, y: Tensor) -> Step:
    """One whole update."""
    task = Regression("y").fit(np.linspace(-1.0, 1.0, 8))
    model = MultiTaskModel.hard(backbone, [task])
    (group,) = model.groups
    optimizer = OptimizerSpec().build(model.roles())
    target = y if model.members == 1 else y.unsqueeze(1).expand(-1, model.members, -1)

    def step() -> None:
        optimizer.zero_grad()
        group.loss(model(x).outputs["y"], target).mean().backward()
        optimizer.step()

    return step


def seconds(part: Step, steps: int = STEPS) -> float:
    """Mean time of one call."""
    started = time.perf_counter()
    for _ in range(steps):
        part()
    return (time.perf_counter() - started) / steps


def shares(step: Step) -> list[tuple[str, float]]:
    """The operations that take most of a step, with their share of its time."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(3):
            step()
    events = record.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    largest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:8]
    return [(event.key, event.self_cpu_time_total / total) for event in largest]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = torch.randn(BATCH, FEATURES), torch.randn(BATCH, 1)
    sizes = {"width": WIDTH, "depth": DEPTH}
    mlp = training(MLP(FEATURES, **sizes), x, y)
    variants = {
        "TabM": TabM(FEATURES, members=MEMBERS, **sizes),
        "TabM, dropout 0": TabM(FEATURES, members=MEMBERS, dropout=0.0, **sizes),
        "TabM, 8 members": TabM(FEATURES, members=8, **sizes),
        "TabM, embeddings, depth 2": TabM(
            FEATURES, width=WIDTH, members=MEMBERS, bins=piecewise_bins(x)
        ),
    }
    print("| | step | one MLP | ratio | ratio / members |")
    print("| --- | --- | --- | --- | --- |")
    for name, backbone in variants.items():
        ours = training(backbone, x, y)
        seconds(ours), seconds(mlp)  # warm up
        rounds = [(seconds(ours), seconds(mlp, 20)) for _ in range(ROUNDS)]
        mine, other = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(slow / fast for slow, fast in rounds)
        print(
            f"| {name} | {1e3 * mine:.1f} ms | {1e3 * other:.2f} ms | {ratio:.1f} "
            f"| {ratio / backbone.members:.2f} |"
        )
    print("\n| operation | share of a step of TabM |")
    print("| --- | --- |")
    for operation, share in shares(training(variants["TabM"], x, y)):
        print(f"| {operation} | {share:.0%} |")


if __name__ == "__main__":
    main()
