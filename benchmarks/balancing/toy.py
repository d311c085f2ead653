"""The problem with two parameters: where every method ends, beside reference values, and a picture.

The problem of the CAGrad, Nash-MTL and FAMO papers (`polytask.testing.toy`). Plain Adam, 1e-3, in
float64; 50,000 steps with the first loss scaled by 0.1, 100,000 with both alike. References: an
implementation of its own (PyTorch for 0.1, NumPy for 1), two decimals; marked points are those in
which rounding decides the path. The references of PCGrad and Nash-MTL contain small additions to
denominators (`tests/golden/test_toy_problem.py`); from (0, 0) exact Nash-MTL, blind to scale, stays
at x1 = 0, by symmetry. Methods without reference values take a fifth of the steps, five times as
long, and stop when a thousand of them have moved less than 0.01.

Run: python -m benchmarks.balancing.toy run PATHS.jsonl [--scale 0.1] [--methods MGDA,UPGrad]
         (goes on where it was stopped)
     python -m benchmarks.balancing.toy table PATHS.jsonl
     python -m benchmarks.balancing.toy draw PATHS.jsonl FOLDER
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from polytask.aggregation import (
    DBMTL,
    IMTL,
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProj,
    EqualizeNorms,
    FairGrad,
    GradDrop,
    GradNorm,
    GradVac,
    MoCo,
    NashMTL,
    PCGrad,
    Sum,
    UPGrad,
)
from polytask.balancing import (
    DWA,
    FAMO,
    IMTLL,
    UWSO,
    FixedWeights,
    GeometricMean,
    PerformanceWeights,
    PlainSmoothTchebycheff,
    RandomWeights,
    ScheduledWeights,
    SmoothTchebycheff,
    UncertaintyWeights,
)
from polytask.gradients import Balance
from polytask.optim import linear
from polytask.testing.toy import STARTS, ToyProblem, descend

METHODS: dict[str, Callable[[], Balance]] = {
    "Sum": Sum,
    "MGDA": MGDA,
    "PCGrad": PCGrad,
    "CAGrad": lambda: CAGrad(0.5),
    "NashMTL": lambda: NashMTL(max_norm=1.0),
    "FixedWeights 10:1": lambda: FixedWeights([10, 1]),
    "ScheduledWeights": lambda: ScheduledWeights([linear([(0, 10.0), (5, 1.0)]), lambda _: 1.0]),
    "PerformanceWeights": lambda: PerformanceWeights(2),
    "RandomWeights": lambda: RandomWeights(2),
    "DWA": lambda: DWA(2),
    "UncertaintyWeights": lambda: UncertaintyWeights(["regression"] * 2),
    "UWSO": lambda: UWSO(2),
    "IMTLL": lambda: IMTLL(2),
    "GeometricMean": lambda: GeometricMean(2),
    "FAMO": lambda: FAMO(2),
    "PlainSmoothTchebycheff": lambda: PlainSmoothTchebycheff(2),
    "SmoothTchebycheff": lambda: SmoothTchebycheff(2),
    "UPGrad": UPGrad,
    "DualProj": DualProj,
    "GradVac": GradVac,
    "GradDrop": GradDrop,
    "IMTLG": IMTLG,
    "IMTL": IMTL,
    "FairGrad": lambda: FairGrad(2.0),
    "AlignedMTL": AlignedMTL,
    "ConFIG": ConFIG,
    "GradNorm": GradNorm,
    "DBMTL": DBMTL,
    "MoCo": MoCo,
    "EqualizeNorms(Sum)": lambda: EqualizeNorms(Sum()),
}
"""Name → a fresh method; the first five have reference values."""

FIRST, COARSER, SETTLED = 5, 5, 0.01
STARTS_ONE = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))
RUNS = {0.1: (STARTS, 50_000), 1.0: (STARTS_ONE, 100_000)}
"""Scale of the first loss → starts, steps."""

REFERENCE: dict[float, dict[str, list[tuple[float, float]]]] = {
    0.1: {
        "Sum": [(-5.73, -8.41), (-5.73, -8.41), (4.99, 3.90), (-5.73, -8.41), (-5.73, -8.41)],
        "MGDA": [(-1.98, -8.36), (6.10, -8.42), (6.98, -8.43), (-4.26, -8.39), (6.99, -8.43)],
        "PCGrad": [(-4.69, -8.39), (-3.37, -8.37), (6.92, -0.08), (-3.83, -8.38), (4.45, -8.39)],
        "CAGrad": [(-5.73, -8.41), (-5.73, -8.41), (6.52, 0.23), (-5.73, -8.41), (-5.73, -8.41)],
        "NashMTL": [(-2.96, -8.37), (-1.95, -8.36), (2.84, -8.37), (-3.33, -8.37), (4.79, -8.39)],
    },
    1.0: {
        "Sum": [(-5.04, 2.15), (0.00, -8.36), (5.04, 2.34)],
        "MGDA": [(-3.32, -8.37), (-6.99, -8.43), (3.32, -8.37)],
        "PCGrad": [(-3.84, -8.38), (-6.27, -8.42), (4.23, -8.39)],
        "CAGrad": [(0.00, -8.36), (0.00, -8.36), (0.00, -8.36)],
        "NashMTL": [(-2.89, -8.37), (-6.42, -8.42), (2.90, -8.37)],
    },
}
ROUNDING_DECIDES = {("PCGrad", 0), ("PCGrad", 2), ("CAGrad", 2)}
"""(Method, start) at scale 0.1 of which the reference itself has two values."""


def run(path: Path, options: dict[str, str]) -> None:
    scale = float(options.get("scale", "0.1"))
    starts, steps = RUNS[scale]
    names = list(METHODS)[: None if scale == 0.1 else FIRST]
    names = options["methods"].split(",") if "methods" in options else names
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(row["scale"], row["method"]) for row in map(json.loads, lines)}
    for name in names:
        if (scale, name) in done:
            continue
        began = time.process_time()
        problem = ToyProblem(scale)
        factor = 1 if name in REFERENCE[scale] else COARSER
        paths = [
            descend(
                METHODS[name](), problem, start, steps=steps // factor,
                learning_rate=1e-3 * factor, every=100 // factor,
                settled=0.0 if factor == 1 else SETTLED,
            )
            for start in starts
        ]  # fmt: skip
        row = {
            "method": name,
            "scale": scale,
            "steps": steps // factor,
            "paths": [np.round(points, 4).tolist() for points in paths],
            "cpu_seconds": round(time.process_time() - began, 1),
        }
        print(name, scale, [points[-1] for points in row["paths"]], row["cpu_seconds"], flush=True)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def read(path: Path, scale: float) -> dict[str, list[np.ndarray]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = {row["method"]: row["paths"] for row in rows if row["scale"] == scale}
    return {name: [np.array(p) for p in found[name]] for name in METHODS if name in found}


def table(path: Path) -> None:
    for scale, (starts, steps) in RUNS.items():
        found = read(path, scale)
        if not found:
            continue
        problem = ToyProblem(scale)
        print(f"\nFirst loss times {scale:g}, {steps} steps; in brackets the reference.\n")
        heads = [f"({a:g}, {b:g})" for a, b in starts]
        print("| method | " + " | ".join(heads) + " | on the front |")
        print("|" + "---|" * (len(heads) + 2))
        for name, paths in found.items():
            words, reached = [], 0
            for number, points in enumerate(paths):
                x1, x2 = points[-1]
                reached += problem.on_front(x1, x2)
                word = f"{x1:.2f}, {x2:.2f}"
                if name in REFERENCE[scale]:
                    a, b = REFERENCE[scale][name][number]
                    star = " *" if scale == 0.1 and (name, number) in ROUNDING_DECIDES else ""
                    word += f" [{a:.2f}, {b:.2f}]{star}"
                words.append(word)
            print(f"| {name} | " + " | ".join(words) + f" | {reached} of {len(paths)} |")


def main() -> None:
    verb, path, *rest = sys.argv[1:]
    if verb == "draw":
        from benchmarks.balancing.toy_picture import draw

        draw(read(Path(path), 0.1), ToyProblem(0.1), Path(rest[0]))
    elif verb == "run":
        options = zip((r.removeprefix("--") for r in rest[::2]), rest[1::2], strict=True)
        run(Path(path), dict(options))
    else:
        table(Path(path))


if __name__ == "__main__":
    main()
