"""Every mistake gets one sentence and status 2, and an earlier good model survives it."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polytask.cli.main import main

FAST = ["--set", "training.epochs=2", "--set", "model.width=8", "--quiet"]


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Runs a command that must fail; returns its one sentence."""
    status = run(*arguments)
    captured = capsys.readouterr()
    assert status == 2, captured.out + captured.err
    text = " ".join(captured.err.split())
    assert text.count("Error:") == 1, text
    assert "Traceback" not in text
    return text.split("Error:", 1)[1].strip()


def table(rows: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 3))
    return pd.DataFrame(
        {
            "age": x[:, 0].round(3),
            "dose": x[:, 1].round(3),
            "ward": np.where(x[:, 2] > 0, "north", "south"),
            "progression": (x[:, 0] + 0.1 * generator.normal(size=rows)).round(3),
            "sex": np.where(x[:, 1] > 0, "f", "m"),
        }
    )


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "patients.csv"
    table().to_csv(path, index=False)
    return path


@pytest.fixture
def fitted(csv: Path, tmp_path: Path, capsys) -> Path:
    out = tmp_path / "run"
    assert run("fit", csv, "--target", "progression", "--target", "sex", "--out", out, *FAST) == 0
    capsys.readouterr()
    return out


def fit_with(capsys, tmp_path: Path, frame: pd.DataFrame, *arguments: str) -> str:
    path = tmp_path / "bad.csv"
    frame.to_csv(path, index=False)
    return fails(capsys, "fit", path, "--out", tmp_path / "out", *arguments, *FAST)


def test_no_such_column(capsys, csv, tmp_path):
    text = fails(capsys, "fit", csv, "--target", "progresion", "--out", tmp_path / "o")
    assert "'progresion'" in text
    assert "'progression'" in text


def test_target_all_missing(capsys, tmp_path):
    frame = table().assign(progression=np.nan)
    assert "'progression'" in fit_with(capsys, tmp_path, frame, "--target", "progression")


def test_one_class_only(capsys, tmp_path):
    frame = table().assign(sex="f")
    text = fit_with(capsys, tmp_path, frame, "--target", "sex")
    assert "'sex'" in text
    assert "only one" in text


def test_kind_contradicts_values(capsys, csv, tmp_path):
    text = fails(capsys, "fit", csv, "--target", "sex:regression", "--out", tmp_path / "o")
    assert "'sex'" in text
    assert "not a number" in text
    text = fails(capsys, "fit", csv, "--target", "progression:count", "--out", tmp_path / "o")
    assert "'progression'" in text


def test_duplicate_column_names(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,a,y\n1,2,3\n4,5,6\n")
    text = fails(capsys, "fit", path, "--target", "y")
    assert "'a'" in text


def test_ragged_file_names_the_line(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n1,2,3\n4,5,6,7\n")
    text = fails(capsys, "fit", path, "--target", "y")
    assert "line 3" in text


@pytest.mark.parametrize("content", ["", "a,b,y\n"])
def test_empty_file(capsys, tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_text(content)
    assert "t.csv" in fails(capsys, "fit", path, "--target", "y")


def test_wrong_encoding_names_the_option(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("größe,y\n1,2\n".encode("latin-1"))
    text = fails(capsys, "fit", path, "--target", "y")
    assert "data.encoding" in text


def test_wrong_separator_names_the_option(capsys, tmp_path):
    path = tmp_path / "t.csv"
    table().to_csv(path, index=False, sep=";")
    text = fails(capsys, "fit", path, "--target", "sex")
    assert "data.separator" in text


@pytest.mark.parametrize("column", ["age", "progression"])
def test_infinite_values(capsys, tmp_path, column):
    frame = table()
    frame.loc[3, column] = np.inf
    text = fit_with(capsys, tmp_path, frame, "--target", "progression")
    assert f"'{column}'" in text
    assert "infinite" in text


def test_fewer_rows_than_a_split_needs(capsys, tmp_path):
    text = fit_with(capsys, tmp_path, table().head(1), "--target", "progression")
    assert "row" in text


def test_a_file_where_the_folder_should_be(capsys, csv, tmp_path):
    place = tmp_path / "taken"
    place.write_text("precious")
    text = fails(capsys, "fit", csv, "--target", "sex", "--out", place, *FAST)
    assert str(place) in text.replace(" ", "") or "taken" in text
    assert place.read_text() == "precious"


def test_a_full_disk_loses_nothing(fitted, csv):
    """A real limit on the size of files, in a process of its own."""
    before = (fitted / "model.safetensors").read_bytes()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    command = [sys.executable, "-m", "polytask", "fit", csv, "--target", "progression"]
    command += ["--target", "sex", "--out", fitted, "--seed", "1", *FAST]
    job = subprocess.run(
        [str(part) for part in command],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert job.returncode == 2, job.stderr
    assert "Traceback" not in job.stderr
    assert (fitted / "model.safetensors").read_bytes() == before
    assert not [path for path in fitted.iterdir() if "tmp" in path.name]


def test_resume_with_another_table(capsys, fitted, csv, tmp_path):
    other = tmp_path / "other.csv"
    table().assign(age=1.5 + table()["age"]).to_csv(other, index=False)
    arguments = ["--target", "progression", "--target", "sex", "--out", fitted, *FAST]
    text = fails(capsys, "fit", other, *arguments, "--resume")
    assert "table" in text
    assert run("fit", csv, *arguments, "--resume") == 0


def test_resume_without_a_checkpoint(capsys, csv, tmp_path):
    text = fails(capsys, "fit", csv, "--target", "sex", "--out", tmp_path / "new", "--resume")
    assert "checkpoint" in text


def test_prediction_table_lacks_a_column(capsys, fitted, tmp_path):
    path = tmp_path / "rows.csv"
    table().drop(columns="dose").to_csv(path, index=False)
    assert "'dose'" in fails(capsys, "predict", fitted, path)


def test_prediction_table_has_another_type(capsys, fitted, tmp_path):
    path = tmp_path / "rows.csv"
    table().assign(age="old").to_csv(path, index=False)
    text = fails(capsys, "predict", fitted, path)
    assert "'age'" in text


@pytest.mark.parametrize("damage", ["truncated", "tampered"])
def test_a_damaged_bundle(capsys, fitted, csv, damage):
    model = fitted / "model.safetensors"
    content = bytearray(model.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[-9] ^= 1
    model.write_bytes(content)
    assert "model.safetensors" in fails(capsys, "predict", fitted, csv)


def test_a_damaged_checkpoint(capsys, fitted, csv):
    checkpoint = fitted / "checkpoint.safetensors"
    content = bytearray(checkpoint.read_bytes())
    content[-9] ^= 1
    checkpoint.write_bytes(content)
    before = (fitted / "model.safetensors").read_bytes()
    arguments = ["--target", "progression", "--target", "sex", "--out", fitted, *FAST]
    assert "checkpoint.safetensors" in fails(capsys, "fit", csv, *arguments, "--resume")
    assert (fitted / "model.safetensors").read_bytes() == before


def test_unknown_option_in_the_run_file(capsys, csv, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("[model]\nwidht = 8\n")
    text = fails(capsys, "fit", csv, "--target", "sex", "--config", config)
    assert "widht" in text
    assert "width" in text


def test_a_failed_run_leaves_the_earlier_model(capsys, fitted, csv):
    before = {p.name: p.read_bytes() for p in fitted.iterdir() if p.suffix != ".html"}
    arguments = ["--target", "progression", "--target", "sex", "--out", fitted, *FAST]
    text = fails(capsys, "fit", csv, *arguments, "--set", "optimizer.learning_rate=1e30")
    assert "NaN or infinite" in text or "not finite" in text
    assert (fitted / "model.safetensors").read_bytes() == before["model.safetensors"]
    assert (fitted / "run.toml").read_bytes() == before["run.toml"]


@pytest.mark.parametrize(
    "options",
    [
        ["--balance", "cagrad", "--set", "balance.options={c=2}"],
        ["--balance", "cagrad", "--set", 'balance.options={c="0.5"}'],
        ["--balance", "moco", "--set", "balance.at=representation"],
        ["--target", "nobody"],
        ["--set", "inputs.mixup=0.2", "--set", "distillation.teacher=single-task"],
    ],
)
def test_a_refused_option_leaves_no_folder(tmp_path: Path, capsys, options: list[str]):
    table().to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "run"
    fails(capsys, "fit", tmp_path / "t.csv", "--target", "age", *FAST, "--out", out, *options)
    assert not out.exists()
