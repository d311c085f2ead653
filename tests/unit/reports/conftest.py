"""Reports that look like real ones, made of invented numbers."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from polytask.data.finding import Finding
from polytask.diagnostics import (
    SCHEMA_VERSION,
    Advice,
    Calibration,
    ColumnRow,
    Comparison,
    DataCard,
    Gap,
    GeometrySums,
    HeadSpectrum,
    LayerRow,
    MetricRow,
    PenaltyRow,
    PermutationTest,
    ReliabilityBin,
    Residuals,
    RunReport,
    SelectedFeature,
    SetRow,
    SpreadBin,
    Structure,
    TaskCard,
    TaskRow,
    Together,
    TrunkGradients,
    Uncertainty,
    Verdict,
    describe_interplay,
    regret_matrix,
)
from polytask.diagnostics.verdict import VerdictNumbers

EVIL = '<script>alert("x")</script>'


def fake_report(
    names: list[str] | None = None,
    *,
    epochs: int = 64,
    loses: bool = False,
    title: str = "diabetes.csv",
    seed: int = 0,
    full: bool = True,
) -> RunReport:
    """A finished report.

    With `loses`, a linear model is better on most tasks; without `full`, it has only what the
    first version of reports had.
    """
    rng = random.Random(seed)
    names = names or ["progression", "blood_pressure", "glucose", "sex"]
    tasks, best_epochs, valid_floor = [], [], []
    advantage = {}
    for index, name in enumerate(names):
        binary = index % 4 == 3
        best = rng.randint(max(1, epochs // 4), max(1, (3 * epochs) // 4))
        best_epochs.append(best)
        mean_loss = 0.69 if binary else rng.uniform(0.9, 1.1)
        model_loss = mean_loss * rng.uniform(0.45, 0.85)
        gain = rng.gauss(-0.12 if loses else 0.06, 0.06)
        linear_loss = model_loss + gain * mean_loss
        valid_floor.append(model_loss)
        spread = rng.uniform(0.03, 0.09)
        advantage[index] = gain
        few = "6 labels of the rarer class, 10 needed" if index == 5 else ""
        sets = []
        for rows, labels, factor in (("train", 283, 0.82), ("valid", 71, 1.0)):
            sets.append(
                SetRow(
                    rows,
                    labels,
                    model_loss * factor,
                    metrics(binary, model_loss * factor, mean_loss, linear_loss * factor),
                    ()
                    if rows == "train"
                    else (
                        Comparison("linear", gain, gain - spread, gain + spread),
                        Comparison(
                            "mean", *(1 - model_loss / mean_loss + d for d in (0, -0.1, 0.1))
                        ),
                    ),
                    "" if rows == "train" else few,
                )
            )
        tasks.append(
            TaskRow(
                name,
                "binary" if binary else "regression",
                "binary, positive class '2' (share 0.468)"
                if binary
                else "regression, squared loss, standardised (mean 152.1, deviation 77.09)",
                283,
                71,
                0,
                best,
                0.18,
                tuple(sets),
                linear="logistic regression (C 0.0464)"
                if binary
                else "ridge regression (alpha 31.6)",
            )
        )
    gain = sum(advantage.values()) / len(advantage)
    run = history(
        names, epochs, best_epochs, sum(best_epochs) // len(best_epochs), valid_floor, rng
    )
    kept = sum(best_epochs) // len(best_epochs)
    words = (
        ("A linear model is better than this model on 3 of 4 tasks (progression, glucose, sex).",)
        if loses
        else ()
    )
    later = later_parts(names, run, rng) if full else {}
    once = later.get("trunk_gradients")
    interplay = describe_interplay(run, balance="equal", once=once) if full else None
    return RunReport(
        schema_version=SCHEMA_VERSION,
        title=title,
        created="2026-01-15 09:30 UTC",
        headline=(
            *words,
            "Against a linear model: better on 2 of 4 tasks, no clear difference on 2, worse on 0.",
            "Against predicting the training average: better on all 4 tasks.",
            "Over all tasks (every task counts the same), against a linear model: better, +5.1 % "
            "of the mean predictor's loss (90 % interval +1.2 % to +9.4 %).",
            "Judged on 71 validation rows; they also chose the epoch, so the figures are slightly "
            "optimistic.",
            f"The weights of epoch {kept} of {epochs} were kept; the run ended because no "
            "compromise between the tasks got better any more.",
        ),
        tasks=tuple(tasks),
        columns=(
            *(
                ColumnRow(f"s{i}", "numeric", "input", 3 * (i % 2), 140 + i, "robust scale")
                for i in range(1, 7)
            ),
            ColumnRow("region", "category", "input", 4, 23, "embedding of width 8", "rare levels"),
            *(ColumnRow(name, "numeric", "target", 61, 214, "") for name in names[:4]),
        ),
        findings=(
            Finding("few-labels", "warning", ("sex",), "'sex' has 41 labels in one class.", ""),
            Finding("constant", "info", ("site",), "'site' is constant and was left out."),
            Finding(
                "leak-linear",
                "danger",
                ("count",),
                "'count' is the sum of 'casual' and 'registered' in every row.",
                "Type --ignore count.",
            ),
        ),
        history=run,
        split={
            "method": "random, stratified over all targets",
            "promise": "every label with two rows or more occurs on both sides",
            "train": 354,
            "valid": 88,
            "test": 0,
        },
        settings={
            "seed": 0,
            "targets": [{"name": name, "kind": "auto"} for name in names[:4]],
            "model": {"backbone": "mlp", "width": 256, "depth": 3, "dropout": 0.1},
            "optimizer": {"name": "adamw", "learning_rate": 0.001, "betas": [0.9, 0.999]},
            "balance": {"name": "equal", "weights": {}},
        },
        switched_on=(
            ("dropout", "0.1 after every hidden layer"),
            ("weight decay (decoupled)", "0.0003 on weights and embeddings"),
            ("gradient clipping", "global norm 1"),
            ("early stopping", "regret, patience 16"),
        ),
        environment={"polytask": "0.1.0", "torch": "2.13.0", "device": "cpu", "threads": "2"},
        together=(
            Together("valid", "tasks", Comparison("linear", gain, gain - 0.03, gain + 0.03)),
            Together("valid", "tasks", Comparison("mean", 0.35, 0.29, 0.41)),
        ),
        interplay=interplay,
        **later,
    )


def later_parts(names: list[str], run: dict, rng: random.Random) -> dict:
    """Every part of a report that was added after the first version."""
    words = ("overfits", "ok", "too few rows", "underfits", "unstable")
    few = names[:40]
    return {
        "verdicts": tuple(
            Verdict(
                name,
                words[i % 5],
                f"Because of number {i}.",
                ("unstable",) if i % 5 == 0 else (),
                "flat after epoch 9",
                VerdictNumbers(71, 9, 8, 20, 0.5, 0.45, 0.6, 0.02),
                "Defend more." if i % 5 == 0 else "",
            )
            for i, name in enumerate(names)
        ),
        "advice": tuple(
            Advice(f"Try number {i}.", "Loss down.", f"--set a={i}" if i else "", (names[0],))
            for i in range(5)
        ),
        "permutation": tuple(
            PermutationTest(
                name,
                0.5,
                tuple(rng.gauss(1, 0.05) for _ in range(100)),
                0.0099,
                100,
                "ridge regression",
                0.12,
            )
            for name in names
        ),
        "data_card": DataCard(
            {"train": 354, "valid": 88},
            67_000,
            {"valid": 3},
            {"valid": 2},
            tuple(
                TaskCard(
                    name,
                    {"train": 283, "valid": 71},
                    237.0,
                    0.4 if i == 1 else 0.02,
                    "standardised mean difference",
                    i == 1,
                )
                for i, name in enumerate(names)
            ),
        ),
        "gaps": tuple(
            Gap(name, when, 0.18, *((0.1, 0.25) if when == "kept" else (None, None)))
            for name in names
            for when in ("kept", "end")
        ),
        "regret": regret_matrix(run),
        "structure": Structure(
            tuple(
                LayerRow(
                    f"backbone.layers.{i}.weight",
                    "backbone",
                    "weight",
                    (64, 12),
                    3.5,
                    0.1,
                    1e-3,
                    3e-7,
                    2.3e6,
                    120,
                    2,
                    1,
                    64,
                    12,
                    ("group lasso",),
                )
                for i in range(3)
            ),
            (HeadSpectrum(tuple(names), (len(names), 64), (3.0, 1.0, 0.1), 3, 2.1),),
            (SelectedFeature("age", 1.5), SelectedFeature("city=Ulm", 0.0)),
            (
                PenaltyRow(
                    "group lasso", "group lasso of strength 0.01", "prox", 3, 120, 768, 2, 64
                ),
                PenaltyRow("ridge", "ridge of strength 0.1", "gradient", 1),
            ),
        ),
        "trunk_gradients": TrunkGradients(
            tuple(few),
            354,
            67_000,
            tuple(0.1 + i for i in range(len(few))),
            tuple(
                tuple(1.0 if i == j else ((i + j) % 5 - 2) / 4 for j in range(len(few)))
                for i in range(len(few))
            ),
        ),
        "calibration": tuple(
            Calibration(
                name,
                "valid",
                71,
                "positive class",
                tuple(
                    ReliabilityBin(b / 7, (b + rng.random() - 0.5) / 7, 1 / 6) for b in range(1, 7)
                ),
                0.06,
                0.01,
                0.1,
                0.05,
                1.3,
                0.04,
                (ReliabilityBin(0.5, 0.5, 1.0),),
            )
            for name in names[3::4]
        ),
        "residuals": tuple(
            Residuals(
                name,
                "valid",
                71,
                tuple((rng.gauss(0, 1), rng.gauss(0, 1)) for _ in range(40)),
                ((0.05, -2.0), (0.5, 0.0), (0.95, 2.0)),
                0.1,
            )
            for name in names[:3]
        ),
        "uncertainty": (
            Uncertainty(
                names[0],
                "valid",
                71,
                "16 members",
                (SpreadBin(1.0, 2.0, 0.5), SpreadBin(2.0, 3.0, 0.5)),
                0.4,
                0.2,
                0.6,
                0.3,
            ),
        ),
    }


def metrics(binary: bool, model: float, mean: float, linear: float) -> tuple[MetricRow, ...]:
    if binary:
        return (
            MetricRow("auc", True, "", 1 - model / 2, 0.5, 1 - linear / 2),
            MetricRow("accuracy", True, "", 1 - model / 3, 0.55, 1 - linear / 3),
            MetricRow("log_loss", False, "", model, mean, linear),
            MetricRow("loss", False, "", model, mean, linear),
        )
    return (
        MetricRow("rmse", False, "target", *(77 * math.sqrt(x) for x in (model, mean, linear))),
        MetricRow("mae", False, "target", *(61 * math.sqrt(x) for x in (model, mean, linear))),
        MetricRow("r2", True, "", 1 - model, 0.0, 1 - linear),
        MetricRow("loss", False, "", model, mean, linear),
    )


def history(
    names: list[str],
    epochs: int,
    best: list[int],
    kept: int,
    floor: list[float],
    rng: random.Random,
) -> dict:
    records = []
    for epoch in range(1, epochs + 1):
        train, valid = [], []
        for index in range(len(names)):
            fall = math.exp(-4 * epoch / best[index])
            late = max(0, epoch - best[index]) / epochs
            train.append(floor[index] * (0.75 + 0.9 * fall - 0.15 * late))
            noise = rng.gauss(0, 0.008)
            valid.append(floor[index] * (1 + 0.8 * fall + 0.35 * late**1.5 + noise))
        records.append(
            {
                "epoch": epoch,
                "steps": 2 * epoch,
                "running": train,
                "train": train,
                "valid": valid,
                "weights": [1 / len(names)] * len(names),
                "learning_rate": 1e-3,
                "skipped": 0,
                "seconds": 0.05,
                "penalties": {"group lasso": 1 / epoch},
            }
        )
    return {
        "tasks": names,
        "epochs": records,
        "best_epoch": kept,
        "best_epochs": best,
        "baseline": [1.0] * len(names),
        "stopped": "patience",
    }


def with_geometry(
    report: RunReport, *, balance: str = "pcgrad", calm: bool = False, norms_only: bool = False
) -> RunReport:
    """The report of a run whose balancing measured gradients.

    The first two tasks oppose each other and the first one dominates, unless `calm`.
    """
    names = report.history["tasks"]
    generator = torch.Generator().manual_seed(0)
    kept = report.history["best_epoch"]
    records = []
    directions = torch.randn(len(names), 30, generator=generator, dtype=torch.float64)
    if not calm:
        directions[1] = -directions[0]
    lead = 1.0 if calm else 60.0
    sums = GeometrySums(len(names), norms_only=norms_only)
    scale = torch.ones(len(names), 1, dtype=torch.float64)
    scale[0] = lead
    present = torch.ones(len(names), dtype=torch.bool)
    for record in report.history["epochs"]:
        sums.reset()
        weights = 1 + 0.5 * torch.rand(len(names), generator=generator, dtype=torch.float64)
        for _ in range(4):
            noise = torch.randn(directions.shape, generator=generator, dtype=torch.float64)
            jacobian = scale * (directions + 0.5 * noise) / record["epoch"] ** 0.5
            sums.add(jacobian @ jacobian.mT, weights, present)
        found = sums.summary()
        near = kept - 5 < record["epoch"] <= kept
        found = found if near or len(names) <= 12 else found.without_pairs()
        records.append({**record, "weights": weights.tolist(), "geometry": found.to_json()})
    history = {**report.history, "epochs": records}
    interplay = describe_interplay(history, balance=balance, once=report.trunk_gradients)
    return replace(report, history=history, interplay=interplay)


@pytest.fixture(scope="session")
def measured() -> Callable[..., RunReport]:
    """Adds what a balancing that measures gradients would have recorded."""
    return with_geometry


@pytest.fixture(scope="session")
def make_report() -> Callable[..., RunReport]:
    """The factory of invented reports."""
    return fake_report


@pytest.fixture(scope="session")
def school() -> RunReport:
    """139 tasks, 256 epochs."""
    return fake_report([f"school {i:03d}" for i in range(1, 140)], epochs=256, title="school.csv")


def chart_values(spec: dict, layer: int) -> list[dict]:
    """The data behind one layer of a chart; Altair stores data sets by name."""
    data = spec["layer"][layer].get("data", spec.get("data"))
    return data["values"] if "values" in data else spec["datasets"][data["name"]]


@pytest.fixture(scope="session")
def values() -> Callable[[dict, int], list[dict]]:
    """The data behind one layer of a chart."""
    return chart_values


@pytest.fixture(scope="session")
def evil() -> str:
    """A name that a careless report would execute."""
    return EVIL
