"""Adult: income (binary), marital status (7 classes), hours per week (regression), official split.

`relationship` gives marital status away and `fnlwgt` is a sampling weight: neither is an input.
Run: POLYTASK_DATA=… python -m benchmarks.tables.adult [seeds]
"""

import sys
from statistics import mean, stdev

from benchmarks.data_folder import data_folder
from polytask.config.run import RunConfig
from polytask.data import read_table
from polytask.pipeline import fit_table

CONFIG = {
    "targets": [
        {"name": "income"},
        {"name": "marital_status"},
        {"name": "hours_per_week", "kind": "regression"},
    ],
    "data": {"ignore": ["relationship", "fnlwgt"]},
}


def main(seeds: int = 3) -> None:
    folder = data_folder() / "adult"
    train = read_table(folder / "adult_train.csv.gz")
    test = read_table(folder / "adult_test.csv.gz")
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for seed in range(seeds):
        run = RunConfig.model_validate({**CONFIG, "seed": seed})
        report = fit_table(train, run, test=test).report
        print(f"seed {seed}: " + " ".join(report.headline), flush=True)
        for task in report.tasks:
            (last,) = [part for part in task.sets if part.rows == "test"]
            for metric in last.metrics:
                key = (task.name, metric.name)
                rows.setdefault(key, []).append((metric.model, metric.mean, metric.linear))
    print("\n| task | metric | polytask | ± | linear | mean |\n|---|---|---|---|---|---|")
    for (task, metric), values in rows.items():
        model = [v[0] for v in values]
        spread = stdev(model) if len(model) > 1 else 0.0
        print(
            f"| {task} | {metric} | {mean(model):.4f} | {spread:.4f} "
            f"| {values[0][2]:.4f} | {values[0][1]:.4f} |"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
