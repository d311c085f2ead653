"""A small table and a way to run the command inside this process."""

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from polytask.cli.main import main


@dataclass
class Done:
    status: int
    out: str
    err: str


@pytest.fixture
def polytask(capsys, monkeypatch):
    """Runs the command; returns status, output and errors."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["polytask", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        shown = capsys.readouterr()
        return Done(stop.value.code, shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """120 rows: two linear targets of mixed kind with gaps, one category, one id."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(120, 2))
    frame = pd.DataFrame(
        {
            "patient": [f"p{i}" for i in range(120)],
            "a": x[:, 0],
            "b": x[:, 1],
            "city": generator.choice(["Ulm", "Bonn", "Köln"], 120),
            "level": 3 * x[:, 0] - x[:, 1] + 10,
            "ill": np.where(x[:, 0] + x[:, 1] > 0, "yes", "no"),
        }
    )
    frame.loc[::7, "level"] = np.nan
    frame.loc[3::9, "ill"] = None
    path = tmp_path_factory.mktemp("tables") / "patients.csv"
    frame.to_csv(path, index=False)
    return path


QUICK = ("--set", "training.epochs=2", "--set", "model.width=8", "--set", "model.depth=1")


@pytest.fixture
def quick():
    """Options of a fit that takes a second."""
    return QUICK
