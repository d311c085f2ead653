"""Tox21: 12 binary tasks, 17 % of the labels missing, three stored 80/10/10 splits, ECFP4 bits.

ROC-AUC per task over the measured labels, mean over tasks, mean over splits; the floor is one
logistic regression per task (C = 0.01, balanced, liblinear) on the same bits and splits.
Run: POLYTASK_DATA=… python -m benchmarks.tables.tox21
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.data_folder import data_folder
from polytask.config.run import RunConfig
from polytask.pipeline import fit_table


def load() -> tuple[pd.DataFrame, list[str], list[str]]:
    """The table with one column per bit, the task names, the split columns."""
    raw = pd.read_csv(data_folder() / "molnet" / "tox21.csv.gz")
    raw = raw[raw["ecfp4_1024_hex"].str.len() == 256].reset_index(drop=True)
    bits = np.stack(
        [np.unpackbits(np.frombuffer(bytes.fromhex(s), np.uint8)) for s in raw["ecfp4_1024_hex"]]
    )
    splits = [name for name in raw.columns if name.startswith("split_")]
    tasks = [n for n in raw.columns if n not in {"smiles", "scaffold", "ecfp4_1024_hex", *splits}]
    columns = [f"bit{i}" for i in range(bits.shape[1])]
    frame = pd.concat([raw[tasks + splits], pd.DataFrame(bits, columns=columns)], axis=1)
    return frame, tasks, splits


def main() -> None:
    frame, tasks, splits = load()
    bits = frame[[c for c in frame.columns if c.startswith("bit")]].to_numpy()
    rows = []
    for seed, split in enumerate(splits):
        run = RunConfig.model_validate(
            {
                "targets": [{"name": name, "kind": "binary"} for name in tasks],
                "data": {"split": split, "ignore": [s for s in splits if s != split]},
                "seed": seed,
            }
        )
        report = fit_table(frame, run, baselines=False).report
        parts = {
            part: np.mean(
                [
                    m.model
                    for t in report.tasks
                    for s in t.sets
                    if s.rows == part
                    for m in s.metrics
                    if m.name == "auc"
                ]
            )
            for part in ("train", "valid", "test")
        }
        floor = {"train": [], "test": []}
        for task in tasks:
            label = frame[task].to_numpy(dtype=float)
            known = {
                p: (frame[split] == p).to_numpy() & ~np.isnan(label) for p in ("train", "test")
            }
            model = LogisticRegression(C=0.01, class_weight="balanced", solver="liblinear")
            model.fit(bits[known["train"]], label[known["train"]])
            for part, chosen in known.items():
                score = model.predict_proba(bits[chosen])[:, 1]
                floor[part].append(roc_auc_score(label[chosen], score))
        rows.append(
            [parts["train"], parts["test"], np.mean(floor["train"]), np.mean(floor["test"])]
        )
        print(
            f"{split}: polytask {parts}, logistic {rows[-1][2]:.3f} / {rows[-1][3]:.3f}", flush=True
        )
    mean = np.mean(rows, axis=0)
    print("\n| model | train AUC | test AUC | gap |\n|---|---|---|---|")
    print(f"| polytask, defaults | {mean[0]:.3f} | {mean[1]:.3f} | {mean[0] - mean[1]:.3f} |")
    print(f"| logistic per task | {mean[2]:.3f} | {mean[3]:.3f} | {mean[2] - mean[3]:.3f} |")


if __name__ == "__main__":
    main()
