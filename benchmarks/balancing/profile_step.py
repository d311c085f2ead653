"""Where the time of one update goes: torch's own profiler over a method at its place.

Run: OMP_NUM_THREADS=1 python -m benchmarks.balancing.profile_step [--model a] [--tasks 8]
         [--at parameters]
"""

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.balancing.models import Net
from polytask import MultiTaskBackward
from polytask.aggregation import UPGrad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="a")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--at", choices=("parameters", "representation"), default="parameters")
    parser.add_argument("--updates", type=int, default=50)
    chosen = parser.parse_args()
    net = Net(chosen.model, chosen.tasks)
    engine = MultiTaskBackward(UPGrad(), at=chosen.at)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        engine(net.losses(branched=True))
        optimizer.step()

    for _ in range(10):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(chosen.updates):
            step()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=20))


if __name__ == "__main__":
    main()
