"""The demo's table, and the whole demo."""

import json

import pytest

from polytask.cli.demo import TARGETS, diabetes


def test_the_table():
    frame = diabetes()
    assert len(frame) == 442
    names = [target.partition(":")[0] for target in TARGETS]
    assert set(names) < set(frame.columns)
    inputs = frame.columns.difference(names)
    assert list(inputs) == ["age", "bmi", "s1", "s2", "s3", "s4", "s5"]
    assert frame[inputs].notna().all(axis=None)
    share = frame[names].isna().mean()
    assert ((share > 0.15) & (share < 0.25)).all()
    # own units: 25 to 346 in the publication
    assert frame["progression"].max() == 346
    assert set(frame["sex"].dropna()) == {1, 2}


def test_the_same_labels_are_deleted_every_time():
    assert diabetes().equals(diabetes())
    assert not diabetes().equals(diabetes(seed=1))


@pytest.mark.slow
def test_the_whole_demo(polytask, tmp_path):
    done = polytask("demo", "--out", tmp_path)
    assert done.status == 0, done.err
    assert "vs linear" in done.out
    assert "vs single" in done.out
    report = json.loads((tmp_path / "report.json").read_text())
    valid = [part for task in report["tasks"] for part in task["sets"] if part["rows"] == "valid"]
    assert all(part["metrics"][0]["single"] is not None for part in valid)
    line = next(line for line in done.out.splitlines() if line.startswith("The same as"))
    again = polytask(*line.split("polytask ")[1].split(), "--quiet")
    assert again.status == 0, again.err
    assert (tmp_path / "report.html").exists()
