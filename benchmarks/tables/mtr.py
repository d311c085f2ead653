"""Ten sets of multi-target regression: every preset beside ridge, forest and scikit-learn's MLP.

Pooled aRRMSE, lower is better, 1 = no better than the mean of the training targets: per target the
root of (SSE summed over folds / squared error of the training mean summed over folds), then the
mean over targets. Ten folds, ``KFold(10, shuffle=True, random_state=1)``; rf1 and scm20d: the first
fold of ``KFold(3, shuffle=True, random_state=1)`` alone. A seed of a network changes its start, its
batches and the rows that it sets aside for stopping; the folds stay.

Run: POLYTASK_DATA=… python -m benchmarks.tables.mtr run RESULTS.jsonl [--models safe,strong]
         [--sets slump,edm] [--seeds 0,1,2]       (goes on where it was stopped)
     python -m benchmarks.tables.mtr table RESULTS.jsonl
     python -m benchmarks.tables.mtr techniques RESULTS.jsonl

A model named safe+TECHNIQUE is the default preset with one more technique, at the value that
docs/overfitting.md types; the last command compares it with `safe`, seed by seed.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks.data_folder import data_folder

TARGETS = {
    "slump": 3, "edm": 2, "andro": 6, "sf1": 3, "atp1d": 6, "oes97": 16, "wq": 14, "scpf": 3,
    "rf1": 8, "scm20d": 16,
}  # fmt: skip
LARGE = ("rf1", "scm20d")
SMALL = ("slump", "edm", "andro", "sf1", "atp1d", "oes97")
PRESETS = ("off", "safe", "strong", "linear", "small")
TECHNIQUES = {
    "mixup": {"inputs": {"mixup": 0.2}},
    "c-mixup": {"inputs": {"c_mixup": 2.0}},
    "manifold-mixup": {"inputs": {"manifold_mixup": 2.0}},
    "cutmix": {"inputs": {"cutmix": 0.2}},
    "cutout": {"inputs": {"cutout": 0.2}},
    "feature-dropout": {"inputs": {"feature_dropout": 0.1}},
    "noise": {"inputs": {"noise": 0.05}},
    "adversarial": {"inputs": {"adversarial": 0.05}},
    "concrete-dropout": {"model": {"concrete_dropout": True}},
    "multi-sample-dropout": {"model": {"head_dropout": 0.3, "dropout_samples": 8}},
    "drop-connect": {"model": {"drop_connect": 0.2}},
    "gates": {"model": {"gates": 0.001}},
    "SAM": {"update": {"sam": 0.05}},
    "ASAM": {"update": {"asam": 0.5}},
    "lookahead": {"update": {"lookahead": 5}},
    "EMA": {"averaging": {"name": "ema"}},
    "L1": {"penalties": [{"name": "l1", "strength": 0.0001}]},
    "joint-features": {"penalties": [{"name": "joint-features", "strength": 0.01}]},
    "mean-regularised": {"penalties": [{"name": "mean-regularised", "strength": 0.1}]},
    "task-covariance": {"penalties": [{"name": "task-covariance", "strength": 0.01}]},
}
PEERS = ("ridge", "forest", "sklearn-mlp")


def load(name: str) -> tuple[pd.DataFrame, list[str]]:
    frame = pd.read_csv(data_folder() / "mtr" / f"{name}.csv.gz")
    targets = list(frame.columns[-TARGETS[name] :])
    if name == "sf1":
        inputs = [c for c in frame.columns if c not in targets]
        frame[inputs] = frame[inputs].astype(str).map(lambda code: f"c{code}")
    return frame, targets


def folds(name: str, rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    if name in LARGE:
        return list(KFold(3, shuffle=True, random_state=1).split(np.arange(rows)))[:1]
    return list(KFold(10, shuffle=True, random_state=1).split(np.arange(rows)))


def peer(model: str, name: str, seed: int):
    """The peers with the settings that the floors are known for."""
    if model == "ridge":
        return RidgeCV(np.logspace(-2, 5, 15), alpha_per_target=True)
    if model == "forest":
        trees, share = {"oes97": (40, 0.1)}.get(name, (15 if name in LARGE else 100, 1 / 3))
        return RandomForestRegressor(trees, max_features=share, random_state=seed, n_jobs=1)
    return MLPRegressor(hidden_layer_sizes=(256, 256), early_stopping=True, random_state=seed)


def predict_peer(model, name, seed, frame, targets, train, test):
    inputs = pd.get_dummies(frame.drop(columns=targets)).astype(float)
    # As in the published floors: empty cells get the mean of the whole file.
    x = inputs.fillna(inputs.mean()).to_numpy()
    y = frame[targets].to_numpy(dtype=float)
    scale = StandardScaler().fit(x[train])
    fitted = peer(model, name, seed)
    if model == "sklearn-mlp":  # it does not scale its targets
        units = StandardScaler().fit(y[train])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted.fit(scale.transform(x[train]), units.transform(y[train]))
        return units.inverse_transform(fitted.predict(scale.transform(x[test])))
    return fitted.fit(scale.transform(x[train]), y[train]).predict(scale.transform(x[test]))


def predict_preset(model, _, seed, frame, targets, train, test):
    from polytask.config.run import RunConfig
    from polytask.pipeline import fit_table

    preset, _, technique = model.partition("+")
    run = RunConfig.model_validate(
        {
            "targets": [{"name": target, "kind": "regression"} for target in targets],
            "defence": preset,
            "seed": seed,
            **(TECHNIQUES[technique] if technique else {}),
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fit_table(frame.iloc[train], run, baselines=False)
    return result.bundle.predict(frame.iloc[test])[targets].to_numpy(dtype=float)


def measure(model: str, name: str, seed: int) -> dict:
    frame, targets = load(name)
    y = frame[targets].to_numpy(dtype=float)
    predict = predict_peer if model in PEERS else predict_preset
    errors, floor = np.zeros(len(targets)), np.zeros(len(targets))
    started = time.monotonic()
    for train, test in folds(name, len(frame)):
        found = predict(model, name, seed, frame, targets, train, test)
        errors += ((found - y[test]) ** 2).sum(0)
        floor += ((y[train].mean(0) - y[test]) ** 2).sum(0)
    return {
        "model": model, "set": name, "seed": seed,
        "arrmse": float(np.sqrt(errors / floor).mean()),
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def run(path: Path, options: dict[str, str]) -> None:
    models = options.get("models", ",".join((*PEERS, *PRESETS))).split(",")
    sets = options.get("sets", ",".join(TARGETS)).split(",")
    seeds = [int(seed) for seed in options.get("seeds", "0,1,2").split(",")]
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(r["model"], r["set"], r["seed"]) for r in map(json.loads, lines)}
    for name in sets:
        for model in models:
            for seed in seeds:
                once = model == "ridge" or name not in SMALL
                if (model, name, seed) in done or (seed != seeds[0] and once):
                    continue
                row = measure(model, name, seed)
                print(row, flush=True)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def table(path: Path) -> None:
    rows = pd.DataFrame(map(json.loads, path.read_text().splitlines()))
    cells = rows.groupby(["set", "model"]).arrmse.agg(["mean", "std", "count"])
    models = [m for m in (*PEERS, *PRESETS) if m in set(rows.model)]
    print("| set | " + " | ".join(models) + " | safe / best floor |")
    print("|" + "---|" * (len(models) + 2))
    reached = below = 0
    for name in TARGETS:
        if (name, "ridge") not in cells.index:
            continue
        words = []
        for model in models:
            if (name, model) not in cells.index:
                words.append("–")
                continue
            mean, std, count = cells.loc[(name, model)]
            words.append(f"{mean:.3f}" + (f" ± {std:.3f}" if count > 1 else ""))
        best = min(cells.loc[(name, m)]["mean"] for m in ("ridge", "forest"))
        ratio = cells.loc[(name, "safe")]["mean"] / best if (name, "safe") in cells.index else None
        if ratio is not None:
            reached += ratio <= 1.05
            below += cells.loc[(name, "safe")]["mean"] < 1
        words.append("–" if ratio is None else f"{ratio:.3f}")
        print(f"| {name} | " + " | ".join(words) + " |")
    print(f"\nsafe: at most 1.05 × min(ridge, forest) on {reached}, below 1 on {below} sets.")


def techniques(path: Path) -> None:
    """Per technique and set, its error relative to the default preset with the same seeds."""
    rows = pd.DataFrame(map(json.loads, path.read_text().splitlines()))
    wide = rows.pivot_table(index="model", columns=["set", "seed"], values="arrmse")
    ratios = wide.div(wide.loc["safe"])
    sets = [name for name in TARGETS if name in set(rows.set)]
    print("| safe and | " + " | ".join(sets) + " | mean |")
    print("|" + "---|" * (len(sets) + 2))
    for model in (f"safe+{technique}" for technique in TECHNIQUES):
        if model not in ratios.index:
            continue
        cells, means = [], []
        for name in sets:
            found = ratios.loc[model, name].dropna()
            means.append(found.mean())
            spread = f" ± {found.std():.3f}" if len(found) > 1 else ""
            cells.append(f"{found.mean():.3f}{spread}" if len(found) else "–")
        print(f"| {model[5:]} | " + " | ".join(cells) + f" | {np.nanmean(means):.3f} |")


def main() -> None:
    verb, path, *rest = sys.argv[1:]
    options = dict(zip((r.removeprefix("--") for r in rest[::2]), rest[1::2], strict=True))
    if verb == "run":
        run(Path(path), options)
    elif verb == "techniques":
        techniques(Path(path))
    else:
        table(Path(path))


if __name__ == "__main__":
    main()
