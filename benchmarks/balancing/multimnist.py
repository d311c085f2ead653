"""MultiMNIST: two digits in one picture, single-task networks beside six ways to balance.

Lin et al., "Pareto multi-task learning", NeurIPS 2019: two random digits on a 36 x 36 canvas, one
top-left, one bottom-right, each moved by up to four pixels, overlapping. Task 1 is the class of the
left digit, task 2 that of the right one. LeNet as there, two heads.

Everyday size: 20,000 training and 5,000 test composites, of training and test images respectively,
10 epochs, batches of 64. A tenth of the training composites is set aside for validation: it
chooses the epoch whose weights are kept (mean accuracy of both tasks; a single-task network: its
own) and, on the first seed, the pair of fixed weights; test composites are looked at once,
afterwards.
Seeds change initial weights and the order of the batches, not the pictures.

Adam, 2e-3 falling to 0 along half a cosine, for everybody. Adam divides a constant factor of the
gradient out, so sum-like methods (PCGrad) and mean-like ones (equal weights, UPGrad) get the same
effective learning rate, and so do heads at weight 1 and at weight 1/2.

Run: POLYTASK_DATA=… python -m benchmarks.balancing.multimnist run RESULTS.jsonl [--models
         equal,upgrad] [--seeds 0,1,2]       (goes on where it was stopped)
     python -m benchmarks.balancing.multimnist table RESULTS.jsonl
"""

import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.data_folder import data_folder
from polytask import MultiTaskBackward
from polytask.aggregation import NashMTL, PCGrad, UPGrad
from polytask.balancing import EqualWeights, FixedWeights, UncertaintyWeights
from polytask.gradients import Balance

TRAIN, TEST, EPOCHS, BATCH, RATE = 20_000, 5_000, 10, 64, 2e-3
TASKS = ("left", "right")
METHODS: dict[str, Callable[[int], Balance]] = {
    "equal": lambda _: EqualWeights(2),
    "fixed 1:2": lambda _: FixedWeights([1, 2]),
    "fixed 2:1": lambda _: FixedWeights([2, 1]),
    "uncertainty": lambda _: UncertaintyWeights(["classification"] * 2),
    "pcgrad": PCGrad,
    "upgrad": lambda _: UPGrad(),
    "nash-mtl": lambda _: NashMTL(),
}
"""Name → the method, given the seed of the run."""

FIXED = ("fixed 1:2", "fixed 2:1")
SINGLE, TIMING = "single-task", "timing"


def read_idx(path: Path) -> np.ndarray:
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def multi_mnist(
    images: np.ndarray, labels: np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    left, right = rng.integers(len(images), size=size), rng.integers(len(images), size=size)
    shifts = rng.integers(0, 5, size=(size, 4))
    canvas = np.zeros((size, 36, 36), np.uint8)
    for k, (a, b, c, d) in enumerate(shifts):
        canvas[k, a : a + 28, b : b + 28] = images[left[k]]
        corner = canvas[k, 4 + c : 32 + c, 4 + d : 32 + d]
        np.maximum(corner, images[right[k]], out=corner)
    return canvas, np.stack([labels[left], labels[right]], axis=1)


Rows = tuple[Tensor, Tensor]


def composites(kind: str, size: int, seed: int) -> Rows:
    folder = data_folder() / "mnist"
    images = read_idx(folder / f"{kind}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{kind}-labels-idx1-ubyte.gz")
    pictures, classes = multi_mnist(images, labels, size, seed)
    return (
        torch.from_numpy(pictures).float().div_(255).unsqueeze(1),
        torch.from_numpy(classes.astype(np.int64)),
    )


def load() -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows."""
    x, y = composites("train", TRAIN, seed=0)
    order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(42))
    valid, train = order[: TRAIN // 10], order[TRAIN // 10 :]
    return (x[train], y[train]), (x[valid], y[valid]), composites("t10k", TEST, seed=1)


class LeNet(nn.Module):
    def __init__(self, tasks: tuple[int, ...]):
        super().__init__()
        # The largest of the rectified is the largest, rectified: the same network, a faster order.
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 10, 9), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(500, 50), nn.ReLU(),
        ).to(memory_format=torch.channels_last)  # fmt: skip
        self.heads = nn.ModuleDict({TASKS[k]: nn.Linear(50, 10) for k in tasks})
        self.tasks = tasks

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = self.trunk(x.contiguous(memory_format=torch.channels_last))
        return {name: head(z) for name, head in self.heads.items()}

    def losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        outputs = self(x)
        return {
            TASKS[k]: nn.functional.cross_entropy(outputs[TASKS[k]], y[:, k]) for k in self.tasks
        }

    def accuracy(self, rows: Rows) -> list[float]:
        x, y = rows
        with torch.no_grad():
            parts = [self(part) for part in x.split(1000)]
        return [
            float((torch.cat([p[TASKS[k]] for p in parts]).argmax(1) == y[:, k]).double().mean())
            for k in self.tasks
        ]


Step = Callable[[Tensor, Tensor], None]


def stepper(
    net: LeNet, balance: Balance | None
) -> tuple[Step, torch.optim.lr_scheduler.LRScheduler]:
    """One update, and the schedule of its learning rate; no method: the only loss of the net."""
    own = [] if balance is None else list(balance.parameters())
    optimizer = torch.optim.Adam([*net.parameters(), *own], lr=RATE)
    engine = None if balance is None else MultiTaskBackward(balance)
    updates = EPOCHS * ((TRAIN - TRAIN // 10) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        losses = net.losses(x, y)
        if engine is None:
            next(iter(losses.values())).backward()
        else:
            engine(losses)
        optimizer.step()

    return step, schedule


def train(
    net: LeNet, balance: Balance | None, seed: int, data: tuple[Rows, Rows, Rows]
) -> tuple[int, list[float], list[float]]:
    """Chosen epoch, validation and test accuracy of the weights kept."""
    (x, y), valid, test = data
    step, schedule = stepper(net, balance)
    orders = torch.Generator().manual_seed(1000 + seed)
    best, epoch, kept, found = -1.0, 0, net.state_dict(), [0.0]
    for number in range(1, EPOCHS + 1):
        for rows in torch.randperm(len(x), generator=orders).split(BATCH):
            if len(rows) == BATCH:
                step(x[rows], y[rows])
                schedule.step()
        now = net.accuracy(valid)
        if statistics.mean(now) > best:
            best, epoch, found = statistics.mean(now), number, now
            kept = {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(kept)
    return epoch, found, net.accuracy(test)


def measure(model: str, seed: int, data: tuple[Rows, Rows, Rows]) -> dict:
    groups = [(0,), (1,)] if model == SINGLE else [(0, 1)]
    row: dict = {"model": model, "seed": seed, "epoch": [], "valid": [], "test": []}
    started = time.process_time()
    for tasks in groups:
        torch.manual_seed(seed)
        balance = None if model == SINGLE else METHODS[model](seed)
        epoch, valid, test = train(LeNet(tasks), balance, seed, data)
        row["epoch"].append(epoch)
        row["valid"] += valid
        row["test"] += test
    return {**row, "cpu_seconds": round(time.process_time() - started, 1)}


def timing(data: tuple[Rows, Rows, Rows], rounds: int = 60) -> dict:
    """Seconds of a step in units of one with equal weights, in rotation: median and quartiles."""
    x, y = data[0][0][:BATCH], data[0][1][:BATCH]
    steps: dict[str, list[Step]] = {}
    for model in (*METHODS, SINGLE):
        single = model == SINGLE
        steps[model] = [
            stepper(LeNet(tasks), None if single else METHODS[model](0))[0]
            for tasks in ([(0,), (1,)] if single else [(0, 1)])
        ]
    seen: dict[str, list[float]] = {model: [] for model in steps}
    for number in range(rounds + 3):
        for model, parts in steps.items():
            start = time.perf_counter()
            for part in parts:
                part(x, y)
            if number >= 3:
                seen[model].append(time.perf_counter() - start)
    return {
        "model": TIMING,
        "seed": 0,
        "ratios": {
            model: statistics.quantiles(
                [a / b for a, b in zip(times, seen["equal"], strict=True)], n=4
            )
            for model, times in seen.items()
        },
    }


def run(path: Path, options: dict[str, str]) -> None:
    models = options.get("models", ",".join((SINGLE, *METHODS, TIMING))).split(",")
    seeds = [int(seed) for seed in options.get("seeds", "0,1,2").split(",")]
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(row["model"], row["seed"]) for row in map(json.loads, lines)}
    data = load()
    for seed in seeds:
        for model in models:
            if (model, seed) in done or (model == TIMING and seed != seeds[-1]):
                continue
            if model in FIXED and seed != seeds[0] and model != preferred(path):
                continue
            row = timing(data) if model == TIMING else measure(model, seed, data)
            print(row, flush=True)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def preferred(path: Path) -> str:
    """The pair of fixed weights that did best on the validation rows of the first seed."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    fixed = [row for row in rows if row["model"] in FIXED]
    first = min(row["seed"] for row in fixed)
    scores = {row["model"]: statistics.mean(row["valid"]) for row in fixed if row["seed"] == first}
    return max(scores, key=scores.__getitem__)


def table(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    ratios = next((row["ratios"] for row in rows if row["model"] == TIMING), {})
    frame = pd.DataFrame([row for row in rows if row["model"] != TIMING])
    tried = set(frame.model)
    dropped = set(FIXED) - {preferred(path)} if tried & set(FIXED) else set()
    names = [m for m in (SINGLE, *METHODS) if m in tried - dropped]
    # Runs with one seed share it with the single-task runs: differences are taken seed by seed.
    test = {m: frame[frame.model == m].set_index("seed").test.map(np.array) for m in names}
    base = test[SINGLE]
    print("| method | left, % | right, % | mean, % | Δm, % | step / equal | seeds |")
    print("|" + "---|" * 7)
    for model in names:
        scores = np.stack(list(test[model]))
        change = np.array([(t / base[s] - 1).mean() for s, t in test[model].items() if s in base])
        parts = [100 * scores[:, 0], 100 * scores[:, 1], 100 * scores.mean(1)]
        words = [spread(part, "") for part in parts]
        words.append("0" if model == SINGLE else spread(100 * change, "+"))
        low, middle, high = ratios.get(model, (0, 0, 0))
        words.append(f"{middle:.2f} ({low:.2f} … {high:.2f})" if middle else "–")
        print(f"| {model} | " + " | ".join(words) + f" | {len(scores)} |")


def spread(values: np.ndarray, sign: str) -> str:
    text = f"{values.mean():{sign}.2f}"
    return text + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def main() -> None:
    verb, path, *rest = sys.argv[1:]
    options = dict(zip((r.removeprefix("--") for r in rest[::2]), rest[1::2], strict=True))
    if verb == "run":
        run(Path(path), options)
    else:
        table(Path(path))


if __name__ == "__main__":
    main()
