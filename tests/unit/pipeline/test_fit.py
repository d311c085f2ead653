"""What a fit decides, borrows and keeps."""

import numpy as np
import pandas as pd
import pytest
import torch

from polytask import load
from polytask.config.auto import decide
from polytask.config.run import RunConfig
from polytask.errors import InvalidArgument, TrainingDiverged
from polytask.pipeline.fit import LAST_GOOD, MODEL, fit_table
from polytask.pipeline.identity import run_hash, table_hash
from polytask.pipeline.training import choose_device, cpu_threads
from polytask.training import Callback


def run(**sections) -> RunConfig:
    return RunConfig.model_validate({"targets": [{"name": "y"}], **sections})


def table(rows: int = 80) -> pd.DataFrame:
    x = np.random.default_rng(0).normal(size=rows)
    return pd.DataFrame({"x": x, "y": 2 * x})


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, "equal"),
        ({"data": {"task_column": "school"}}, "pooled"),
        ({"balance": {"weights": {"y": 2.0}}}, "fixed"),
        ({"balance": {"schedule": {"y": [[0, 1.0]]}}}, "scheduled"),
        ({"balance": {"name": "equal"}, "data": {"task_column": "school"}}, "equal"),
        ({"targets": [{"name": "y", "weight": 3.0}]}, "fixed"),
    ],
)
def test_automatic_balancing(sections, expected):
    assert decide(run(**sections)).balance.name == expected


def test_threads_are_given_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with cpu_threads(run(model={"width": 32}), 32):
            assert torch.get_num_threads() == 1, "a small network trains on one"
        with cpu_threads(run(model={"width": 1024}), 256):
            assert torch.get_num_threads() == 2, "a large one keeps what torch has"
        with cpu_threads(run(model={"width": 1024}, training={"threads": 1}), 4096):
            assert torch.get_num_threads() == 1, "what the user says wins"
        with pytest.raises(ZeroDivisionError), cpu_threads(run(training={"threads": 1}), 4096):
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_hashes_see_every_cell_and_every_option():
    frame = table()
    other = frame.copy()
    other.loc[40, "x"] += 1e-9
    assert table_hash([frame]) == table_hash([frame.copy()])
    assert table_hash([frame]) != table_hash([other])
    assert table_hash([frame, None]) != table_hash([frame])
    assert table_hash([frame]) != table_hash([frame.rename(columns={"x": "w"})])
    assert run_hash(run()) != run_hash(run(model={"dropout": 0.2}))
    assert run_hash(run()) == run_hash(run(training={"checkpoint_seconds": 1.0}))


def test_unusable_device_is_named():
    with pytest.raises(InvalidArgument, match="'nonsense' cannot be used here"):
        choose_device("nonsense")


class Poison(Callback):
    """Makes every later loss infinite, once two epochs are done."""

    def __init__(self, monkeypatch) -> None:
        self.monkeypatch = monkeypatch

    def epoch(self, view) -> None:
        if view.record.epoch == 2:
            original = torch.nn.functional.mse_loss

            def broken(output, target, reduction):
                return original(output, target, reduction=reduction) * float("inf")

            self.monkeypatch.setattr(torch.nn.functional, "mse_loss", broken)


def test_a_diverged_run_keeps_its_best_weights_beside_the_earlier_model(tmp_path, monkeypatch):
    config = run(model={"width": 8, "depth": 1}, training={"epochs": 30, "batch_size": 4})
    fit_table(table(), config, out=tmp_path, baselines=False)
    earlier = (tmp_path / MODEL).read_bytes()
    with pytest.raises(TrainingDiverged, match=LAST_GOOD):
        fit_table(table(), config, out=tmp_path, callbacks=[Poison(monkeypatch)], baselines=False)
    assert (tmp_path / MODEL).read_bytes() == earlier
    assert np.isfinite(load(tmp_path / LAST_GOOD).predict(table())["y"]).all()


def test_resume_needs_a_folder():
    with pytest.raises(InvalidArgument, match="`resume` must come with the folder"):
        fit_table(table(), run(), resume=True)
