"""Three updates of a small model over several processes; test_several_processes.py runs it.

Usage: python processes_job.py FOLDER RANK PROCESSES METHOD. Writes FOLDER/METHOD-PROCESSES-RANK.pt:
the parameters, the weights of each update and the state of the method.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from polytask import MultiTaskBackward
from polytask.aggregation import DBMTL, CAGrad, GradDrop, MoCo, NashMTL, PCGrad, UPGrad
from polytask.balancing import DWA, GeometricMean, LossBalancer, UncertaintyWeights
from polytask.gradients import Balance

METHODS = {
    "UPGrad": UPGrad,
    "CAGrad": CAGrad,
    "NashMTL": lambda: NashMTL(max_norm=1.0),
    "PCGrad": PCGrad,
    "GradDrop": GradDrop,
    "MoCo": MoCo,
    "DBMTL": DBMTL,
    "DWA": lambda: DWA(3),
    "GeometricMean": lambda: GeometricMean(3),
    "UncertaintyWeights": lambda: UncertaintyWeights(["regression"] * 3),
}
ROWS, WIDTH = 24, 5
SPLIT = ((0, 4), (4, ROWS))
"""Rows of each process where there are two: the first one has few, and none with task 2."""


def batch(update: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets of three tasks, and which labels there are."""
    source = torch.Generator().manual_seed(update)
    x = torch.randn(ROWS, WIDTH, generator=source, dtype=torch.float64)
    y = torch.randn(ROWS, 3, generator=source, dtype=torch.float64)
    known = torch.rand(ROWS, 3, generator=source) < 0.6
    known[: SPLIT[0][1], 2] = False
    return x, y, known


def train(method: Balance, rank: int, processes: int) -> dict[str, object]:
    """The same model everywhere; each process sees its own rows."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh()).double()
    heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(3)).double()
    by_losses = isinstance(method, LossBalancer)
    step = MultiTaskBackward(method, shared=None if by_losses else trunk.parameters())
    model = [*trunk.parameters(), *heads.parameters()]
    optimizer = torch.optim.SGD([*model, *method.parameters()], lr=0.1)
    low, high = SPLIT[rank] if processes == 2 else (0, ROWS)
    weights = []
    for update in range(3):
        x, y, known = batch(update)
        z = trunk(x[low:high])
        sums: list[Tensor | None] = []
        for k, head in enumerate(heads):
            mine = known[low:high, k]
            errors = (head(z).squeeze(1) - y[low:high, k])[mine].square()
            sums.append(errors.sum() if mine.any() else None)
        optimizer.zero_grad()
        step.accumulate(sums, known.sum(0).unbind())
        report = step.finish(dist.all_reduce if processes > 1 else None)
        if processes > 1:
            for parameter in model if by_losses else heads.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
        optimizer.step()
        if by_losses:
            method.end_epoch()
        weights.append(report.weights)
    return {"model": model, "weights": torch.stack(weights), "state": method.state_dict()}


def main() -> None:
    folder, rank, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if processes > 1:
        meeting = f"file://{folder / 'meeting'}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    for name, make in METHODS.items():
        torch.save(train(make(), rank, processes), folder / f"{name}-{processes}-{rank}.pt")
    if processes > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
