"""A deep multi-task model beside mean-regularised linear ones on School, on the same splits.

POLYTASK_DATA=/path/to/data python -m benchmarks.regularization.school_deep

139 heads on a wide and deep trunk, with and without the penalty (r/2) Σ ‖w_school − w_mean‖² on the
heads. Strength and number of epochs are chosen on the inner split of the training rows (the same
as for the linear models); then all training rows are trained on for so many epochs. Inputs are
standardised with the training rows. The linear model is shown with these inputs too: those of
`school_linear` are z-scored per school on all rows, test rows among them. ± is the deviation over
splits; differences are between models of the same split.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from benchmarks.regularization.school_linear import GRID, MODELS, Parts, scores, split
from benchmarks.regularization.school_objectives import read_school, z_scored
from polytask import MultiTaskModel, Regression
from polytask.backbones import MLP
from polytask.balancing import PooledLoss
from polytask.data import Batch, ResidentBatches
from polytask.optim import OptimizerSpec
from polytask.regularization.objective import MeanRegularised
from polytask.tasks import Task, group_tasks
from polytask.training import NoStopping, Stopping, Trainer

STRENGTHS = (300.0, 1000.0, 3000.0)
"""λ on the scale of ½ Σ (residual)², as in the linear models."""
EPOCHS = 100
RATE, SLOWER = 1e-3, 0.3
LINEAR, SAME, PLAIN, NARROW, PENALISED = (
    "linear, mean-regularised, z-scored per school (leaks)",
    "linear, mean-regularised, inputs as below",
    "deep, without the penalty",
    "deep, mean-regularised, without the skip",
    "deep, mean-regularised",
)
NAMES = (LINEAR, SAME, PLAIN, NARROW, PENALISED)


@final
class PooledRows(Stopping):
    """The epoch with the lowest mean loss over validation rows, whichever school they are of."""

    def __init__(self, rows: Sequence[int], patience: int = 15) -> None:
        super().__init__()
        self.rows, self.patience = rows, patience

    def score(self, losses: Sequence[float | None], baseline: Sequence[float | None]) -> float:
        """Mean over rows."""
        assert len(baseline) == len(losses)
        return sum(n * x for n, x in zip(self.rows, losses, strict=True) if x is not None)


@dataclass(frozen=True)
class Fitted:
    """Predictions for unseen rows, and the epoch that was best where that was asked."""

    answers: Parts
    epoch: int


def encoded(x: Parts, tasks: Sequence[Task], y: Parts | None = None) -> Batch:
    """One batch of all rows, each with the label of its own school."""
    sizes = [len(part) for part in x]
    owner = torch.repeat_interleave(torch.arange(len(x)), torch.tensor(sizes))
    masks = torch.nn.functional.one_hot(owner, len(x)).bool()
    targets = torch.zeros(masks.shape)
    if y is not None:
        labels = [task.encode(part)[0] for task, part in zip(tasks, y, strict=True)]
        targets[masks] = torch.cat(labels)
    name = group_tasks(tasks)[0].name
    inputs = torch.from_numpy(np.concatenate(x).astype(np.float32))
    return Batch(inputs, {name: targets}, {name: masks}, None, torch.arange(len(owner)))


def train(
    seen: tuple[Parts, Parts],
    unseen: Parts,
    truth: Parts | None,
    strength: float,
    epochs: int,
    seed: int,
    skip: bool,
) -> Fitted:
    """Trains on `seen`; `truth`, if it is given, chooses the epoch."""
    x, y = seen
    pooled = np.concatenate(y)
    tasks = [
        Regression(f"school {t}", center=float(pooled.mean()), scale=float(pooled.std())).fit(part)
        for t, part in enumerate(y)
    ]
    torch.manual_seed(seed)
    backbone = MLP(x[0].shape[1], width=64, depth=2, dropout=0.1, skip=skip)
    model = MultiTaskModel.hard(backbone, tasks)
    # The objective is the mean squared residual, twice the linear models' divided by the rows.
    penalties = [MeanRegularised(2 * strength / len(pooled))] if strength else []
    trainer = Trainer(
        model,
        tasks,
        optimizer=OptimizerSpec(
            learning_rate=RATE, weight_decay=1e-2, rates={"role:backbone": SLOWER}
        ),
        balance=PooledLoss(len(tasks)),
        stopping=NoStopping() if truth is None else PooledRows([len(part) for part in truth]),
        seed=seed,
        epochs=epochs,
        penalties=penalties,
    )
    batches = ResidentBatches(encoded(x, tasks, y), batch_size=256, seed=seed)
    rest = None
    if truth is not None:
        rest = ResidentBatches(encoded(unseen, tasks, truth), batch_size=8192)
    history = trainer.fit(batches, rest)
    with torch.no_grad():
        batch = encoded(unseen, tasks)
        [outputs] = model(batch.inputs).outputs.values()
    [masks] = batch.masks.values()
    flat = outputs.squeeze(-1)[masks].double().numpy() * pooled.std() + pooled.mean()
    edges = np.cumsum([len(part) for part in unseen])[:-1]
    return Fitted(np.split(flat, edges), history.best_epoch)


def standardised(x: Parts, *others: Parts) -> list[Parts]:
    """All parts with the mean and deviation of the first."""
    rows = np.concatenate(x)
    mean, deviation = rows.mean(0), rows.std(0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    return [[(part - mean) / deviation for part in parts] for parts in (x, *others)]


def evaluate(share: float, splits: int) -> dict[str, np.ndarray]:
    """Per model ``[splits, 2]``: explained variance and weighted RMSE on test rows."""
    raw, targets = read_school()
    leaking = [z_scored(x) for x in raw]
    linear = MODELS["mean-regularised, free intercept"]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for seed in range(splits):
        random = np.random.default_rng(seed)
        outer = split([len(y) for y in targets], share, random)
        seen, test = ([part[i] for part in outer] for i in (0, 1))
        inner = split([len(a) for a in seen], 0.8, random)
        fitted, held = ([part[i] for part in inner] for i in (0, 1))

        def rows(parts: Parts, chosen: Parts) -> Parts:
            return [part[positions] for part, positions in zip(parts, chosen, strict=True)]

        y, truth = rows(targets, seen), rows(targets, test)
        y_fit, y_held = rows(y, fitted), rows(y, held)
        for name, inputs in ((LINEAR, leaking), (SAME, raw)):
            x, new = rows(inputs, seen), rows(inputs, test)
            if name == SAME:
                x, new = standardised(x, new)
            tried = linear(rows(x, fitted), y_fit, rows(x, held), GRID)
            best = int(np.argmax([scores(answer, y_held)[0] for answer in tried]))
            results[name].append(scores(linear(x, y, new, GRID[: best + 1])[-1], truth))
        x = rows(raw, seen)
        x_fit, x_held = standardised(rows(x, fitted), rows(x, held))
        x_all, x_new = standardised(x, rows(raw, test))
        for name in (PLAIN, NARROW, PENALISED):
            found, skip = [], name != NARROW
            for strength in (0.0,) if name == PLAIN else STRENGTHS:
                one = train((x_fit, y_fit), x_held, y_held, strength, EPOCHS, seed, skip)
                found.append((scores(one.answers, y_held)[0], strength, one.epoch))
            _, strength, epochs = max(found)
            again = train((x_all, y), x_new, None, strength, epochs, seed, skip)
            results[name].append(scores(again.answers, truth))
            print(f"{share:.0%} {seed} {name}: λ {strength:g}, {epochs} epochs", flush=True)
        print({name: round(values[-1][0], 4) for name, values in results.items()}, flush=True)
    return {name: np.array(values) for name, values in results.items()}


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    tables = []
    for share, splits in ((0.75, 10), (0.3, 5)):
        begun = time.perf_counter()
        tables.append(evaluate(share, splits))
        print(f"{share:.0%}: {splits} splits in {time.perf_counter() - begun:.0f} s", flush=True)
    print(
        "\n| model | EV 75 % | RMSE | minus row 1 | minus row 2 "
        "| EV 30 % | RMSE | minus row 1 | minus row 2 |"
    )
    print("|" + " --- |" * 9)
    for name in NAMES:
        cells = []
        for table in tables:
            (ev, rmse), deviation = table[name].mean(0), table[name][:, 0].std(ddof=1)
            gains = [table[name][:, 0] - table[other][:, 0] for other in (LINEAR, SAME)]
            gained = " | ".join(f"{g.mean():+.4f} ± {g.std(ddof=1):.4f}" for g in gains)
            cells.append(f"{ev:.3f} ± {deviation:.3f} | {rmse:.2f} | {gained}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
