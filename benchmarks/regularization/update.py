"""What EMA, SWA, gradient noise and SAM cost: a training step with each against the plain step.

A hand-written step of an MLP with two layers of 256 units, 256 rows, fused AdamW, one thread;
interleaved, the order alternates, median of the ratios. Processor time, because a step is short
and whatever else the machine does would count as well.
Run: python -m benchmarks.regularization.update
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from polytask.regularization.update import SAM, GradientNoise
from polytask.regularization.weights import EMA, SWA

_FEATURES, _WIDTH, _TASKS, _ROWS, _REPEATS = 64, 256, 8, 256, 600

Arm = Callable[[], float]


def arm(technique: str) -> Arm:
    """A function that runs one step and returns its seconds."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(_ROWS, _FEATURES), torch.randn(_ROWS, _TASKS)
    net = nn.Sequential(
        nn.Linear(_FEATURES, _WIDTH),
        nn.ReLU(),
        nn.Linear(_WIDTH, _WIDTH),
        nn.ReLU(),
        nn.Linear(_WIDTH, _TASKS),
    )
    parameters = list(net.parameters())
    optimizer = torch.optim.AdamW(parameters, fused=True)
    average = {"EMA": lambda: EMA(0.999), "SWA": lambda: SWA(0.0)}.get(technique, lambda: None)()
    noise = GradientNoise(1e-6) if technique == "gradient noise" else None
    sam = SAM(0.05) if technique == "SAM" else None
    if average is not None:
        average.start(net)
    done = 0

    def backward() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(net(inputs), targets).backward()

    def step() -> float:
        nonlocal done
        begin = time.process_time()
        backward()
        if sam is not None:
            saved = sam.climb_(parameters)
            backward()
            sam.restore_(saved)
        if noise is not None:
            noise.add_(parameters, done)
        optimizer.step()
        done += 1
        if average is not None:
            average.update(net, done, done / (_REPEATS + 100))
        return time.process_time() - begin

    return step


def ratios(technique: str) -> list[float]:
    """Of interleaved steps, with the technique to without."""
    plain, other = arm("plain"), arm(technique)
    for _ in range(50):
        plain(), other()
    found = []
    for index in range(_REPEATS):
        if index % 2:
            a, b = plain(), other()
        else:
            b, a = other(), plain()
        found.append(b / a)
    return found


def main() -> None:
    """Prints a table."""
    torch.set_num_threads(1)
    print("| technique | step with it / plain step, median | quartiles |\n| --- | --- | --- |")
    for technique in ("plain", "EMA", "SWA", "gradient noise", "SAM"):
        low, middle, high = statistics.quantiles(ratios(technique), n=4)
        print(f"| {technique} | {middle:.3f} | {low:.3f} … {high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
