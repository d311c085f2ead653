"""What proximal penalties cost: a training step with them against the plain step."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from polytask.optim.roles import Selector
from polytask.regularization.objective import (
    L1,
    ElasticNet,
    GroupLasso,
    JointFeatures,
    Penalty,
    SparseGroupLasso,
    penalise,
)

_FEATURES, _WIDTH, _TASKS, _ROWS = 32, 256, 4, 256
_COLUMNS = Selector(group="column")


def steps(penalties: Sequence[Penalty], repeats: int = 400) -> float:
    """Median ratio of interleaved steps, with the penalties to without."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(_ROWS, _FEATURES), torch.randn(_ROWS, _TASKS)

    def arm(chosen: Sequence[Penalty]):
        net = nn.Sequential(
            nn.Linear(_FEATURES, _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, _TASKS),
        )
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.0, fused=True)
        bound = penalise(net, chosen, optimizer, heads=r"4\..*")

        def step() -> float:
            begin = time.perf_counter()
            optimizer.zero_grad()
            nn.functional.mse_loss(net(inputs), targets).backward()
            optimizer.step()
            bound.prox_()
            return time.perf_counter() - begin

        return step

    plain, penalised = arm([]), arm(penalties)
    for _ in range(30):
        plain(), penalised()
    ratios = []
    for index in range(repeats):
        # The order changes: neither arm always finds the caches warm.
        if index % 2:
            a, b = plain(), penalised()
        else:
            b, a = penalised(), plain()
        ratios.append(b / a)
    return statistics.median(ratios)


def main() -> None:
    """Prints a table."""
    print("| penalty | step with it / plain step |\n| --- | --- |")
    cases: dict[str, list[Penalty]] = {
        "none": [],
        "L1, all weights": [L1(1e-5)],
        "elastic net, all weights": [ElasticNet(1e-5)],
        "group lasso, rows": [GroupLasso(1e-5)],
        "group lasso, columns": [GroupLasso(1e-5, _COLUMNS)],
        "group lasso, columns of the first layer": [
            GroupLasso(1e-5, Selector(group="column", names=r"0\..*"))
        ],
        "sparse group lasso, rows": [SparseGroupLasso(1e-5)],
        "joint features, heads": [JointFeatures(1e-5)],
    }
    for name, penalties in cases.items():
        print(f"| {name} | {steps(penalties):.3f} |")


if __name__ == "__main__":
    main()
