"""``polytask demo``: the whole job on a table that comes inside scikit-learn."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pandas import DataFrame

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
    from polytask.studies import compare_with_single_tasks

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
        report = compare_with_single_tasks(
            frame, result, progress=lambda name: status.update(f"One network for {name} alone …")
        )
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
