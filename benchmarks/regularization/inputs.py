"""What regularizers of inputs cost: a training step with them against the plain step.

Of a table (28 numeric and 4 category columns; two regressions and five classes) and of numbers
alone (28 columns, one regression). 2 × 256, dropout 0.1, batch 256, fused AdamW, one thread. Steps
are interleaved and the ratio is taken pair by pair, in time of the processor: what else runs on the
machine counts less, but not nothing, because it shares the caches.
Run: python -m benchmarks.regularization.inputs
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from polytask.backbones import MLP
from polytask.balancing import EqualWeights
from polytask.data.batch import Batch
from polytask.data.batches import label_counts
from polytask.optim import OptimizerSpec
from polytask.regularization.inputs import (
    CMixup,
    CutMix,
    FeatureDropout,
    InputNoise,
    InputRegularizer,
    Mixup,
)
from polytask.sharing import MultiTaskModel
from polytask.tasks import Multiclass, Regression, Task
from polytask.training import Defence
from polytask.training.step import Step

NUMERIC, CARDINALITIES, WIDTH, DEPTH, BATCH = 28, [12, 20, 7, 30], 256, 2, 256
PAIRS = 400

Update = Callable[[], float]


def tasks(table: bool) -> list[Task]:
    """Two regressions, one head; five classes, another. Or one regression."""
    values = np.linspace(-1.0, 1.0, 10)
    if not table:
        return [Regression("y0").fit(values)]
    regressions = [Regression(name).fit(values) for name in ("y0", "y1")]
    return [*regressions, Multiclass("c").fit(np.arange(10) % 5)]


def batch(table: bool) -> Batch:
    """Random rows, a fifth of the labels missing."""
    if not table:
        known = {"y0": torch.rand(BATCH, 1) < 0.8}
        targets = {"y0": torch.randn(BATCH, 1)}
        return Batch(torch.randn(BATCH, NUMERIC), targets, known, None, torch.arange(BATCH))
    codes = torch.stack([torch.randint(2, codes, (BATCH,)) for codes in CARDINALITIES], 1)
    masks = {"y0": torch.rand(BATCH, 2) < 0.8, "c": torch.rand(BATCH, 1) < 0.8}
    targets = {"y0": torch.randn(BATCH, 2), "c": torch.randint(0, 5, (BATCH, 1))}
    inputs = {"numeric": torch.randn(BATCH, NUMERIC), "categories": codes}
    return Batch(inputs, targets, masks, None, torch.arange(BATCH))


def arm(regularizers: Sequence[InputRegularizer], given: Batch) -> Update:
    """One whole update, timed."""
    torch.manual_seed(0)
    table = not isinstance(given.inputs, Tensor)
    backbone = MLP(NUMERIC, CARDINALITIES if table else (), width=WIDTH, depth=DEPTH)
    model = MultiTaskModel.hard(backbone, tasks(table))
    optimizer = OptimizerSpec().build(model.roles())
    defence = Defence(inputs=tuple(regularizers))

    step = Step(model, model.groups, EqualWeights(len(model.tasks)), optimizer, 1.0, defence)
    window = [given], label_counts(given)

    def update() -> float:
        begin = time.thread_time()
        step.update(window)
        return time.thread_time() - begin

    return update


def ratio(
    regularizers: Sequence[InputRegularizer], table: bool = True, pairs: int = PAIRS
) -> tuple[float, float]:
    """Median ratio of interleaved steps; median time of the plain step."""
    torch.manual_seed(0)
    given = batch(table)
    plain, regularized = arm([], given), arm(regularizers, given)
    for _ in range(30):
        plain(), regularized()
    times = []
    for index in range(pairs):
        # The order changes: neither arm always finds the caches warm.
        if index % 2:
            a, b = plain(), regularized()
        else:
            b, a = regularized(), plain()
        times.append((b / a, a))
    ratios, seconds = zip(*times, strict=True)
    return statistics.median(ratios), statistics.median(seconds)


def main() -> None:
    """Prints a table."""
    torch.set_num_threads(1)
    print("| step with it / plain step | table | numbers |\n| --- | --- | --- |")
    cases: dict[str, list[InputRegularizer]] = {
        "none": [],
        "mixup": [Mixup(0.2)],
        "C-Mixup": [CMixup(groups=["y0"])],
        "cutmix, every batch": [CutMix(1.0)],
        "noise": [InputNoise(0.05)],
        "feature dropout": [FeatureDropout(0.1)],
    }
    for name, regularizers in cases.items():
        table, numbers = (ratio(regularizers, kind) for kind in (True, False))
        print(f"| {name} | {table[0]:.3f} | {numbers[0]:.3f} |")
    print(f"\nPlain steps: {1e3 * table[1]:.2f} ms and {1e3 * numbers[1]:.2f} ms.")


if __name__ == "__main__":
    main()
