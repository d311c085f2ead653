"""``polytask demo``: the whole job on a table that comes inside scikit-learn."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pandas import DataFrame

    from polytask.diagnostics import RunReport

TABLE = "patients.csv"
SEED = 0
TARGETS = ("progression", "blood_pressure", "glucose", "sex:binary")
MISSING_SHARE = 0.2


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")] = Path("demo-run"),
) -> None:
    """Train on 442 diabetes patients and compare with simpler models.

    Four targets, a fifth of their labels deleted at random. Beside the model:
    the training average, ridge or logistic regression, one network per target.
    """
    from polytask._files import make_folder
    from polytask.data import read_table
    from polytask.studies import single_task_runs, with_single_tasks

    from .arguments import Typed, merge
    from .console import errors, output
    from .fit import finish, train
    from .predict import write_table

    make_folder(out)
    path = out / TABLE
    write_table(diabetes(), path)
    console, progress = output(), errors()
    run, _ = merge(Typed(targets=TARGETS, seed=SEED))
    command = ["polytask", "fit", str(path), *_flags("--target", TARGETS), "--out", str(out)]
    console.print(f"[dim]The same as:[/] {shlex.join(command)}", soft_wrap=True)
    console.print()
    frame = read_table(path)
    result = train(frame, run, name=TABLE, out=out, console=console, progress_console=progress)
    with progress.status("One network per target, for comparison …") as status:
        singles = single_task_runs(
            frame,
            run,
            result.split,
            progress=lambda name: status.update(f"One network for {name} alone …"),
        )
    report = with_single_tasks(result.report, singles)
    report = replace(report, headline=(*_against_single(report), *report.headline))
    finish(replace(result, report=report), out, console, path)


def diabetes(missing: float = MISSING_SHARE, seed: int = SEED) -> "DataFrame":
    """Scikit-learn's diabetes table in its own units, with labels deleted at random.

    Reference:
        B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, "Least Angle Regression", Annals of
        Statistics 32, 2004. https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html
    """
    import numpy as np
    from sklearn.datasets import load_diabetes

    frame: DataFrame = load_diabetes(scaled=False, as_frame=True).frame
    frame = frame.rename(columns={"target": "progression", "bp": "blood_pressure", "s6": "glucose"})
    frame["sex"] = frame["sex"].astype("Int64")
    generator = np.random.default_rng(seed)
    for target in TARGETS:
        name = target.partition(":")[0]
        frame[name] = frame[name].mask(generator.random(len(frame)) < missing)
    return frame


def _flags(flag: str, values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _against_single(report: "RunReport") -> tuple[str, ...]:
    """Where one network per task has the better figure, in one sentence."""
    pairs = [
        (task.name, metric.model, metric.single, metric.higher_is_better)
        for task in report.tasks
        if (part := task.on(report.judged_on)) is not None
        for metric in part.metrics[:1]
    ]
    known = [(n, m, s, h) for n, m, s, h in pairs if m is not None and s is not None]
    if not known:
        return ()
    lost = [name for name, model, single, higher in known if (single > model) == higher]
    if not lost:
        return (f"Against one network per task: the better figure on all {len(known)} tasks.",)
    return (
        f"One network per task has the better figure on {len(lost)} of {len(known)} tasks "
        f"({', '.join(lost)}); this model on the others.",
    )
