"""What the defence costs: a whole update with each technique against the plain update.

Three hidden layers of 256 units, 64 inputs, batches of 256 rows, eight regression tasks; SGD with
momentum, and fused AdamW. Every arm is polytask's own update (`training.step.Step`) with a model of
its own; every round holds all arms, shuffled, and each round's ratio is taken to
the plain update of the same round. The ensemble is compared with one network of equal width.
Run: python -m benchmarks.regularization.cost [rounds]; with --operations in place of the rounds it
counts the tensor operations that each technique adds to an update instead.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from polytask.backbones import MLP, Dropout, L0Gates, TabM
from polytask.balancing import EqualWeights
from polytask.data.batch import Batch
from polytask.data.batches import ResidentBatches
from polytask.optim import OptimizerSpec, Selector
from polytask.regularization.inputs import Adversarial, Cutout, InputNoise, ManifoldMixup, Mixup
from polytask.regularization.objective import (
    L1,
    L2,
    MCP,
    BoundPenalties,
    GroupLasso,
    JointFeatures,
    JointFeaturesMax,
    Orthogonality,
    Penalty,
    TaskCovariance,
)
from polytask.regularization.update import ASAM, SAM, GradientNoise, Lookahead
from polytask.regularization.weights import EMA
from polytask.sharing import MultiTaskModel
from polytask.tasks import Regression
from polytask.training import Defence
from polytask.training.step import Step

INPUTS, WIDTH, DEPTH, ROWS, TASKS = 64, 256, 3, 256, 8
COLUMNS = Selector(group="column", names=r"backbone\.layers\.0\..*")


def window():
    torch.manual_seed(0)
    targets = {"y0": torch.randn(ROWS, TASKS)}
    masks = {"y0": torch.ones(ROWS, TASKS, dtype=torch.bool)}
    table = Batch(torch.randn(ROWS, INPUTS), targets, masks, None, torch.arange(ROWS))
    return next(ResidentBatches(table, batch_size=ROWS).windows(1))


def arm(
    optimizer: str,
    penalties: tuple[Penalty, ...] = (),
    members: int = 1,
    layers: dict[str, Any] | None = None,
    heads: dict[str, Any] | None = None,
    torch_masks: bool = False,
    **techniques,
) -> Callable[[], float]:
    """One update, timed."""
    torch.manual_seed(0)
    tasks = [Regression(f"y{i}").fit(np.linspace(-1.7, 1.7, 50)) for i in range(TASKS)]
    sizes: dict[str, Any] = {"width": WIDTH, "depth": DEPTH, "dropout": 0.0} | (layers or {})
    backbone = MLP(INPUTS, **sizes) if members == 1 else TabM(INPUTS, members=members, **sizes)
    model = MultiTaskModel.hard(backbone, tasks, **(heads or {}))
    if torch_masks:
        for module in [*model.modules()]:
            for name, child in module.named_children():
                if isinstance(child, Dropout):
                    setattr(module, name, nn.Dropout(child.p))
    infos = model.roles()
    spec = OptimizerSpec(optimizer, learning_rate=1e-5, weight_decay=0.0, momentum=0.9)
    built = spec.build(infos)
    defence = Defence(penalties=penalties, **techniques)
    bound = BoundPenalties(penalties, infos, built) if penalties else None
    for weights in (defence.averaging, defence.lookahead):
        if weights is not None:
            weights.start(model)
    step = Step(model, model.groups, EqualWeights(TASKS), built, 0.0, defence, bound)
    batches = window()
    model.train()

    def update() -> float:
        begin = time.perf_counter()
        step.update(batches, 0.5)
        return time.perf_counter() - begin

    return update


def arms(optimizer: str) -> dict[str, Callable[[], float]]:
    return {
        "plain": arm(optimizer),
        "plain again": arm(optimizer),
        "L1": arm(optimizer, (L1(1e-5),)),
        "L2": arm(optimizer, (L2(1e-5),)),
        "group lasso, columns of the first layer": arm(optimizer, (GroupLasso(1e-5, COLUMNS),)),
        "group lasso, rows of all layers": arm(optimizer, (GroupLasso(1e-5),)),
        "MCP": arm(optimizer, (MCP(1e-5),)),
        "joint features, heads": arm(optimizer, (JointFeatures(1e-5),)),
        "L1,∞, heads": arm(optimizer, (JointFeaturesMax(1e-5),)),
        "task covariance, heads": arm(optimizer, (TaskCovariance(1e-5),)),
        "orthogonality, all layers": arm(optimizer, (Orthogonality(1e-5),)),
        "mixup": arm(optimizer, inputs=(Mixup(0.2),)),
        "manifold mixup": arm(optimizer, inputs=(ManifoldMixup(2.0, layers=DEPTH),)),
        "cutout": arm(optimizer, inputs=(Cutout(1.0, 0.2),)),
        "input noise": arm(optimizer, inputs=(InputNoise(0.05),)),
        "gradient noise": arm(optimizer, noise=GradientNoise(0.01)),
        "EMA": arm(optimizer, averaging=EMA()),
        "lookahead": arm(optimizer, lookahead=Lookahead()),
        "SAM": arm(optimizer, sam=SAM()),
        "ASAM": arm(optimizer, sam=ASAM()),
        "adversarial rows": arm(optimizer, adversarial=Adversarial()),
        "dropout": arm(optimizer, layers={"dropout": 0.1}),
        "dropout, torch's masks": arm(optimizer, layers={"dropout": 0.1}, torch_masks=True),
        "concrete dropout": arm(optimizer, layers={"dropout": 0.1, "concrete_rows": 10_000}),
        "DropConnect": arm(optimizer, layers={"drop_connect": 0.1}),
        "multi-sample dropout, 4 masks": arm(
            optimizer, heads={"head_dropout": 0.1, "dropout_samples": 4}
        ),
        "gates": arm(optimizer, layers={"gates": L0Gates(1e-3)}),
    }


def rotation(made: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The ratios of every arm to the plain one, round by round; disturbed rounds are dropped."""
    names = list(made)
    for name in names:
        for _ in range(10):
            made[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(0)
    for _ in range(rounds):
        # In another order every time: what came before an arm decides what is in the caches.
        for name in order.sample(names, len(names)):
            times[name].append(made[name]())
    plain = times["plain"]
    limit = 1.6 * statistics.quantiles(plain, n=4)[0]
    kept = [i for i, seconds in enumerate(plain) if seconds <= limit]
    return {name: [times[name][i] / plain[i] for i in kept] for name in names if name != "plain"}


def operations() -> None:
    """Prints how many tensor operations every arm adds to a plain update of AdamW."""
    counts = {}
    for name, update in arms("adamw").items():
        for _ in range(60):
            update()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            update()
        counts[name] = sum(event.name.startswith("aten::") for event in seen.events() or ())
    plain = counts.pop("plain")
    print(f"plain update: {plain} operations")
    for name, count in counts.items():
        print(f"{name}: {count - plain:+d}")


def main(rounds: int = 300) -> None:
    torch.set_num_threads(1)
    found = {kind: rotation(arms(kind), rounds) for kind in ("sgd", "adamw")}
    print("| technique | sgd | adamw |\n|---|---|---|")
    for name in found["sgd"]:
        cells = []
        for ratios in (found["sgd"][name], found["adamw"][name]):
            low, middle, high = statistics.quantiles(ratios, n=4)
            cells.append(f"{middle:.3f} ({low:.2f}–{high:.2f})")
        print(f"| {name} | {' | '.join(cells)} |")
    ensembles = {
        "plain": arm("adamw"),
        "8": arm("adamw", members=8),
        "32": arm("adamw", members=32),
    }
    few = rotation(ensembles, max(10, rounds // 15))
    print(f"\nEnsemble of 8 members: {statistics.median(few['8']):.1f}, of 32: "
          f"{statistics.median(few['32']):.1f} times one network of equal width.")  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:] == ["--operations"]:
        torch.set_num_threads(1)
        operations()
    else:
        main(*map(int, sys.argv[1:]))
