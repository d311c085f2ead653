"""139 equal heads as one stacked product, against a loop of 139 Linear heads with a loss each.

Both sides do the same arithmetic on the same resident batch: MLP 3 × 256, one output per task,
squared error with a mask for missing labels, mean over tasks, backward, fused AdamW. Rounds are
interleaved; the ratio is taken within each round.
Run: python -m benchmarks.sharing.stacked_heads
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from polytask.backbones import MLP
from polytask.balancing import EqualWeights
from polytask.optim import OptimizerSpec
from polytask.sharing import MultiTaskModel
from polytask.tasks import Regression, masked_sums

TASKS, WIDTH, BATCH, FEATURES = 139, 256, 256, 28
ROUNDS, STEPS = 15, 5

Part = Callable[[], None]


def stacked(x: Tensor, y: Tensor, mask: Tensor) -> tuple[Part, Part]:
    """(heads only, whole training step) of the library."""
    values = np.linspace(-1.0, 1.0, 8)
    tasks = [Regression(f"t{k}").fit(values) for k in range(TASKS)]
    model = MultiTaskModel.hard(MLP(FEATURES, width=WIDTH, depth=3, dropout=0.0), tasks)
    (group,) = model.groups
    optimizer = OptimizerSpec().build(model.roles())
    balance = EqualWeights(TASKS)
    features = torch.randn(BATCH, WIDTH)

    def objective(outputs: Tensor) -> Tensor:
        sums, counts = masked_sums(group.loss(outputs, y), mask, None)
        return balance(sums / counts.clamp(min=1.0), counts > 0, counts)

    def heads() -> None:
        z = features.clone().requires_grad_()
        objective(model.heads(model.sharing(z))[group.name]).backward()

    def step() -> None:
        optimizer.zero_grad()
        objective(model(x).outputs[group.name]).backward()
        optimizer.step()

    return heads, step


def looped(x: Tensor, y: Tensor, mask: Tensor) -> tuple[Part, Part]:
    """(heads only, whole training step) as it is usually written."""
    trunk = MLP(FEATURES, width=WIDTH, depth=3, dropout=0.0)
    layers = nn.ModuleList(nn.Linear(WIDTH, 1) for _ in range(TASKS))
    optimizer = torch.optim.AdamW([*trunk.parameters(), *layers.parameters()], lr=1e-3, fused=True)
    features = torch.randn(BATCH, WIDTH)
    weights = mask.float()

    def objective(z: Tensor) -> Tensor:
        losses = []
        for k, layer in enumerate(layers):
            squared = (layer(z).squeeze(1) - y[:, k]) ** 2
            losses.append((squared * weights[:, k]).sum() / weights[:, k].sum().clamp(min=1.0))
        return torch.stack(losses).mean()

    def heads() -> None:
        objective(features.clone().requires_grad_()).backward()

    def step() -> None:
        optimizer.zero_grad()
        objective(trunk(x)).backward()
        optimizer.step()

    return heads, step


def seconds(part: Part) -> float:
    """Mean time of one call."""
    started = time.perf_counter()
    for _ in range(STEPS):
        part()
    return (time.perf_counter() - started) / STEPS


def main() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(BATCH, FEATURES), torch.randn(BATCH, TASKS)
    mask = torch.rand(BATCH, TASKS) < 0.9
    pairs = zip(stacked(x, y, mask), looped(x, y, mask), strict=True)
    print(f"{TASKS} heads, width {WIDTH}, batch {BATCH}, {torch.get_num_threads()} thread(s)\n")
    print("| | stacked | loop | loop / stacked |")
    print("| --- | --- | --- | --- |")
    for name, (ours, theirs) in zip(("heads and losses", "training step"), pairs, strict=True):
        seconds(ours), seconds(theirs)  # warm up
        rounds = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
        mine, other = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(slow / fast for fast, slow in rounds)
        print(f"| {name} | {1e3 * mine:.2f} ms | {1e3 * other:.2f} ms | {ratio:.1f} |")


if __name__ == "__main__":
    main()
