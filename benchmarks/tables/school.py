"""School: 139 tasks in long form; 75 % / 25 % inside each school, explained variance pooled.

Explained variance = 1 − SSE / SST over all test pupils. Floors on the same splits: ridge on the
inputs, and ridge with school indicators.
Run: POLYTASK_DATA=… python -m benchmarks.tables.school [splits]
"""

import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from benchmarks.data_folder import data_folder
from polytask.config.run import RunConfig
from polytask.data import read_table
from polytask.pipeline import fit_table

CONFIG = {
    "targets": [{"name": "y", "kind": "regression"}],
    "data": {"task_column": "school", "ignore": ["x27"]},
}


def test_rows(school: np.ndarray, seed: int) -> np.ndarray:
    """A quarter of the pupils of each school."""
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(school), dtype=bool)
    for name in np.unique(school):
        rows = np.flatnonzero(school == name)
        chosen[generator.permutation(rows)[: round(len(rows) / 4)]] = True
    return chosen


def explained(y: np.ndarray, prediction: np.ndarray) -> float:
    return 1 - ((y - prediction) ** 2).sum() / ((y - y.mean()) ** 2).sum()


def main(splits: int = 5) -> None:
    frame = read_table(data_folder() / "school" / "school.csv.gz")
    numbers = frame.astype(float)
    y, school = numbers["y"].to_numpy(), numbers["school"].to_numpy()
    x = numbers[[f"x{i}" for i in range(27)]].to_numpy()
    indicators = np.hstack([x, pd.get_dummies(school).to_numpy(dtype=float)])
    rows = []
    for seed in range(splits):
        chosen = test_rows(school, seed)
        train, test = frame[~chosen], frame[chosen]
        run = RunConfig.model_validate({**CONFIG, "seed": seed})
        result = fit_table(train, run, baselines=False)
        ours = result.bundle.predict(test)["y"].to_numpy(dtype=float)
        row = [explained(y[chosen], ours)]
        for inputs in (x, indicators):
            model = Ridge(10).fit(inputs[~chosen], y[~chosen])
            row.append(explained(y[chosen], model.predict(inputs[chosen])))
        rows.append(row)
        print(
            f"split {seed}: polytask {row[0]:.4f}, ridge {row[1]:.4f}, with schools {row[2]:.4f}",
            flush=True,
        )
    table = 100 * np.array(rows)
    print("\n| model | explained variance, % |\n|---|---|")
    names = ["polytask, defaults", "ridge, one for all", "ridge with school indicators"]
    for name, column in zip(names, table.T, strict=True):
        print(f"| {name} | {column.mean():.1f} ± {column.std(ddof=1) if splits > 1 else 0:.1f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
