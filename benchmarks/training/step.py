"""One training epoch of `Trainer`, per-task losses and progress on, against a hand-written loop.

The hand-written loop knows nothing of missing labels: slices of resident tensors, one network with
one linear head of K outputs, mean squared error, clipping, fused AdamW. Same tensors, same model
sizes, one thread, interleaved rounds, median of the ratios. Rounds alternate who begins, so that a
load that comes and goes favours nobody.
Run: python -m benchmarks.training.step
"""

import itertools
import statistics
import time

import torch
from torch import nn

from polytask import MultiTaskModel, Regression, Trainer
from polytask.backbones import MLP
from polytask.data import Batch, ResidentBatches
from polytask.optim import OptimizerSpec
from polytask.training import Callback

ROWS, FEATURES, BATCH, ROUNDS = 16_384, 64, 256, 31


class Progress(Callback):
    """Counts updates, as a progress bar does."""

    def __init__(self) -> None:
        self.updates = 0

    def step(self, view) -> None:
        self.updates += 1


def hand_written(x: torch.Tensor, y: torch.Tensor, tasks: int, width: int):
    """A loop that the user would write; returns a function that runs one epoch."""
    layers: list[nn.Module] = []
    sizes = [FEATURES, width, width, width]
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU(), nn.Dropout(0.1)]
    model = nn.Sequential(*layers, nn.Linear(width, tasks))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    loss_function = nn.MSELoss()

    def epoch() -> float:
        model.train()
        order = torch.randperm(ROWS)
        started = time.perf_counter()
        xs, ys = x[order], y[order]
        for start in range(0, ROWS, BATCH):
            optimizer.zero_grad()
            loss = loss_function(model(xs[start : start + BATCH]), ys[start : start + BATCH])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return time.perf_counter() - started

    return epoch


def ours(x: torch.Tensor, y: torch.Tensor, tasks: int, width: int):
    fitted = [Regression(f"t{k}").fit(y[:, k].numpy()) for k in range(tasks)]
    model = MultiTaskModel.hard(MLP(FEATURES, width=width, depth=3, dropout=0.1), fitted)
    (group,) = model.groups
    table = Batch(
        x,
        {group.name: y},
        {group.name: torch.ones_like(y, dtype=torch.bool)},
        None,
        torch.arange(ROWS),
    )
    batches = ResidentBatches(table, batch_size=BATCH, seed=0)

    def epoch() -> float:
        trainer = Trainer(
            model, fitted, optimizer=OptimizerSpec(), epochs=1, callbacks=[Progress()]
        )
        return trainer.fit(batches).epochs[0].seconds

    return epoch


def main() -> None:
    torch.set_num_threads(1)
    print("| width | tasks | ratio, median | quartiles |\n|---|---|---|---|")
    for width in (64, 256):
        for tasks in (2, 8, 40):
            torch.manual_seed(0)
            x, y = torch.randn(ROWS, FEATURES), torch.randn(ROWS, tasks)
            plain, trainer = hand_written(x, y, tasks, width), ours(x, y, tasks, width)
            plain(), trainer()
            ratios = []
            for round_ in range(ROUNDS):
                if round_ % 2:
                    seconds = trainer()
                    ratios.append(seconds / plain())
                else:
                    base = plain()
                    ratios.append(trainer() / base)
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"| {width} | {tasks} | {middle:.2f} | {low:.2f} … {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
