"""Rows per second of `ResidentBatches` against a bare `index_select` loop and against a tutorial.

20,000 rows, 64 inputs, 8 targets, as one epoch each; interleaved rounds, median of the ratios. The
bare loop draws a permutation and selects inputs and targets batch by batch: it has no masks, no
label counts, no state. The tutorial's Dataset indexes a DataFrame with `iloc` row by row and
returns a dictionary of targets; it is timed on fewer rows.
Run: python -m benchmarks.data.batches
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas
import torch
from torch.utils.data import DataLoader, Dataset

from polytask.data import Batch, ResidentBatches

ROWS, FEATURES, TARGETS, ROUNDS, TUTORIAL_ROWS = 20_000, 64, 8, 40, 1_000


class TutorialDataset(Dataset):
    """What tutorials write."""

    def __init__(self, frame: pandas.DataFrame) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: int):
        row = self.frame.iloc[index]
        inputs = torch.tensor(row.iloc[:FEATURES].to_numpy(), dtype=torch.float32)
        return inputs, {f"t{k}": torch.tensor(row[f"t{k}"]) for k in range(TARGETS)}


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(batch_size: int, labelled: float) -> tuple[list[float], list[float], float]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, FEATURES, generator=generator)
    y = torch.randn(ROWS, TARGETS, generator=generator)
    mask = torch.rand(ROWS, TARGETS, generator=generator) < labelled
    table = Batch({"numeric": x}, {"t0": y}, {"t0": mask}, None, torch.arange(ROWS))
    batches = ResidentBatches(table, batch_size=batch_size)

    def bare() -> None:
        order = torch.randperm(ROWS, generator=generator)
        for start in range(0, ROWS, batch_size):
            rows = order[start : start + batch_size]
            x.index_select(0, rows)
            y.index_select(0, rows)
            if labelled < 1:
                mask.index_select(0, rows)  # whoever has gaps needs to know where

    def ours() -> None:
        for _ in batches.windows(1):
            pass

    names = [f"x{k}" for k in range(FEATURES)] + [f"t{k}" for k in range(TARGETS)]
    frame = pandas.DataFrame(np.concatenate([x, y], axis=1)[:TUTORIAL_ROWS], columns=names)
    loader = DataLoader(TutorialDataset(frame), batch_size=batch_size, shuffle=True)
    for run in (bare, ours):
        run()
    times = [(seconds(bare), seconds(ours)) for _ in range(ROUNDS)]
    tutorial = statistics.median(seconds(lambda: list(loader)) for _ in range(3))
    return (
        [ROWS / ours_s for _, ours_s in times],
        [bare_s / ours_s for bare_s, ours_s in times],
        TUTORIAL_ROWS / tutorial,
    )


def main() -> None:
    print("| batch | labelled | rows/s | against index_select (quartiles) | against iloc |")
    print("|---|---|---|---|---|")
    for batch_size, labelled in ((32, 1.0), (256, 1.0), (256, 0.8)):
        speeds, ratios, tutorial = measure(batch_size, labelled)
        low, middle, high = statistics.quantiles(ratios, n=4)
        speed = statistics.median(speeds)
        print(
            f"| {batch_size} | {labelled:.0%} | {speed:,.0f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) "
            f"| {speed / tutorial:,.0f} |"
        )


if __name__ == "__main__":
    main()
