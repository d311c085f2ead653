"""What EMA, SWA, gradient noise and SAM cost: polytask's update with each against the plain one.

An MLP with two layers of 256 units, 8 tasks, 256 rows, fused AdamW, one thread; interleaved, the
order alternates, median of the ratios. Processor time, because an update is short and whatever else
the machine does would count as well.
Run: python -m benchmarks.regularization.update
"""

import statistics
import time
from collections.abc import Callable

import torch

from polytask import MultiTaskModel, Regression
from polytask.backbones import MLP
from polytask.balancing.equal import EqualWeights
from polytask.data import Batch
from polytask.optim import OptimizerSpec
from polytask.regularization.update import SAM, GradientNoise
from polytask.regularization.weights import EMA, SWA
from polytask.training.defence import Defence
from polytask.training.step import Step

_FEATURES, _WIDTH, _TASKS, _ROWS, _REPEATS = 64, 256, 8, 256, 800

TECHNIQUES: dict[str, Callable[[], Defence]] = {
    "plain": Defence,
    "EMA": lambda: Defence(averaging=EMA(0.999)),
    "SWA": lambda: Defence(averaging=SWA(0.0)),
    "gradient noise": lambda: Defence(noise=GradientNoise(1e-6)),
    "SAM": lambda: Defence(sam=SAM(0.05)),
}


def arm(defence: Defence) -> Callable[[], float]:
    """A function that runs one update and returns its seconds."""
    torch.manual_seed(0)
    x, y = torch.randn(_ROWS, _FEATURES), torch.randn(_ROWS, _TASKS)
    tasks = [Regression(f"t{k}").fit(y[:, k].numpy()) for k in range(_TASKS)]
    model = MultiTaskModel.hard(MLP(_FEATURES, width=_WIDTH, depth=2, dropout=0.0), tasks)
    (group,) = model.groups
    mask = torch.ones_like(y, dtype=torch.bool)
    batch = Batch(x, {group.name: y}, {group.name: mask}, None, torch.arange(_ROWS))
    window = ([batch], {group.name: mask.sum(0).float()})
    optimizer = OptimizerSpec().build(model.roles())
    if defence.averaging is not None:
        defence.averaging.start(model)
    step = Step(model, model.groups, EqualWeights(_TASKS), optimizer, 1.0, defence)

    def update() -> float:
        begin = time.process_time()
        assert step.update(window, 0.5)
        return time.process_time() - begin

    return update


def ratios(defence: Defence) -> list[float]:
    """Of interleaved updates, with the technique to without."""
    plain, other = arm(Defence()), arm(defence)
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
    print("| technique | update with it / plain update, median | quartiles |")
    print("| --- | --- | --- |")
    for name, make in TECHNIQUES.items():
        low, middle, high = statistics.quantiles(ratios(make()), n=4)
        print(f"| {name} | {middle:.3f} | {low:.3f} … {high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
