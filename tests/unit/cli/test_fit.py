"""``fit``, and what the other verbs do with its folder."""

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest

from polytask.cli import progress
from polytask.config import load_run
from polytask.config.toml import read_toml
from polytask.training import Callback


@pytest.fixture
def fitted(polytask, table, tmp_path, quick):
    out = tmp_path / "run"
    done = polytask(
        "fit", table, "--target", "level", "--target", "ill", "--id", "patient", "--out", out,
        *quick,
    )  # fmt: skip
    assert done.status == 0, done.err
    return done, out


def test_the_whole_way(fitted, polytask, table, tmp_path):
    done, out = fitted
    assert {path.name for path in out.iterdir()} >= {
        "model.safetensors", "run.toml", "report.json", "report.html",
    }  # fmt: skip
    # the table as it was understood, the result, and what to type next
    assert "120 rows (96 train, 24 valid)" in done.out
    assert "category" in done.out
    assert "vs linear" in done.out
    assert done.out.rstrip().endswith(f"predict  polytask predict {out} {table}")
    # without a terminal: lines, no control characters
    assert "epoch 1/2, mean validation loss" in done.err
    assert "\x1b" not in done.out + done.err

    predicted = polytask("predict", out, table)
    assert predicted.status == 0
    lines = predicted.out.splitlines()
    assert lines[0] == "patient,level,ill,ill_probability_yes"
    assert len(lines) == 121

    target = tmp_path / "deep" / "predictions.parquet"
    assert polytask("predict", out, table, "--task", "ill", "--out", target).status == 0
    assert list(pd.read_parquet(target).columns) == ["patient", "ill", "ill_probability_yes"]

    measured = polytask("evaluate", out, table, "--json")
    level, ill = json.loads(measured.out)
    assert (level["task"], level["kind"], level["labels"]) == ("level", "regression", 102)
    assert {metric["name"] for metric in ill["metrics"]} >= {"auc", "accuracy"}
    shown = polytask("evaluate", out, table)
    assert "level" in shown.out
    assert "auc ↑" in shown.out

    before = (out / "report.html").read_text(encoding="utf-8")
    (out / "report.html").unlink()
    assert polytask("report", out).status == 0
    assert (out / "report.html").read_text(encoding="utf-8") == before
    assert json.loads((out / "report.json").read_text())["title"] == "patients.csv"


def test_the_written_run_file_repeats_the_run(fitted, polytask, table, tmp_path):
    _, out = fitted
    again = tmp_path / "again"
    done = polytask("fit", table, "--config", out / "run.toml", "--out", again, "--quiet")
    assert done.status == 0, done.err
    assert load_run(again / "run.toml") == load_run(out / "run.toml")
    first, second = (polytask("predict", folder, table).out for folder in (out, again))
    assert first == second
    assert read_toml(out / "run.toml")["balance"]["name"] == "equal"


def test_quiet_prints_nothing(polytask, table, tmp_path, quick):
    done = polytask("fit", table, "--target", "level", "--out", tmp_path, "--quiet", *quick)
    assert (done.status, done.out, done.err) == (0, "", "")


def test_an_earlier_model_survives_a_failed_run(fitted, polytask, table):
    _, out = fitted
    before = (out / "model.safetensors").read_bytes()
    done = polytask("fit", table, "--target", "levle", "--out", out)
    assert done.status == 2
    assert (out / "model.safetensors").read_bytes() == before


def test_replacing_a_model_is_announced(fitted, polytask, table, quick):
    _, out = fitted
    done = polytask("fit", table, "--target", "level", "--out", out, *quick)
    assert "holds a model; it is replaced when this run ends well" in " ".join(done.out.split())


def test_validation_and_test_rows_from_files(polytask, table, tmp_path, quick):
    done = polytask(
        "fit", table, "--target", "level", "--valid", table, "--test", table, "--out", tmp_path,
        *quick,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "(120 train, 120 valid, 120 test)" in done.out
    assert "Judged on 120 test rows" in done.out


class PressCtrlC(Callback):
    """A hand on the keyboard after a given update of a given epoch."""

    def __init__(self, epoch, times=1):
        self.epoch_to_stop, self.times = epoch, times

    def step(self, view):
        if view.epoch == self.epoch_to_stop and view.step == 1:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def press(monkeypatch):
    """Puts the hand beside the progress display of the next fits."""
    original = progress.Progress.step

    def install(epoch, times=1):
        hand = PressCtrlC(epoch, times)

        def step(self, view):
            original(self, view)
            hand.step(view)

        monkeypatch.setattr(progress.Progress, "step", step)

    return install


def test_ctrl_c_keeps_the_best_epoch_and_resume_goes_on(polytask, table, tmp_path, press):
    words = [
        "fit", table, "--target", "level", "--set", "model.width=8", "--set", "training.epochs=4"
    ]  # fmt: skip
    press(epoch=3)
    stopped = polytask(*words, "--out", tmp_path / "a")
    assert stopped.status == 130
    assert "Interrupted; the best epoch is evaluated and saved" in stopped.err
    assert f"are in {tmp_path / 'a' / 'model.safetensors'}" in stopped.err.replace("\n", " ")
    assert stopped.err.rstrip().endswith("--resume")
    assert "because it was interrupted" in " ".join(stopped.out.split())
    command = stopped.err.split("Go on: polytask ")[1].split()

    press(epoch=99)
    assert polytask(*command).status == 0
    assert polytask(*words, "--out", tmp_path / "b").status == 0
    first, second = (polytask("predict", tmp_path / name, table).out for name in "ab")
    assert first == second


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_before_the_first_epoch_touches_no_model(fitted, polytask, table, press, times):
    _, out = fitted
    before = (out / "model.safetensors").read_bytes()
    press(epoch=1, times=times)
    done = polytask("fit", table, "--target", "level", "--out", out)
    assert done.status == 130
    assert "an earlier one was not touched" in done.err.replace("\n", " ")
    assert (out / "model.safetensors").read_bytes() == before


def test_resume_needs_a_checkpoint(polytask, table, tmp_path, quick):
    done = polytask("fit", table, "--target", "level", "--resume", "--out", tmp_path, *quick)
    assert done.status == 2
    assert "Nothing to resume" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "levle"], "'levle' does not exist. Did you mean 'level'"),
        (["--target", "level:regresion"], "Did you mean 'regression'"),
        (["--target", "level:binary"], "'level' cannot be a binary target"),
        (["--target", "level", "--balance", "eqaul"], "Did you mean 'equal'"),
        (["--target", "level", "--set", "model.widht=3"], "Did you mean `model.width`?"),
        (["--target", "level", "--set", "model.width"], "must have the form key=value"),
        (["--target", "level", "--valid", "1.5"], "`--valid` must be a file or a fraction"),
        (["--target", "level", "--valid", "no.csv"], "no file no.csv"),
        (["--target", "level", "--group", "citty"], "'citty' does not exist. Did you mean 'city'"),
        (["--target", "level", "--config", "no.toml"], "`no.toml` cannot be read"),
        (["--target", "level", "--seed", "x"], "'--seed'"),
        (["--targte", "level"], "--target"),
        ([], "No target is named. Type --target NAME"),
    ],
)
def test_mistakes_get_one_sentence_and_status_2(polytask, table, tmp_path, arguments, words):
    done = polytask("fit", table, "--out", tmp_path / "run", *arguments)
    assert done.status == 2
    assert words in done.err
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_file_as_the_folder(polytask, table, tmp_path):
    (tmp_path / "run").write_text("mine")
    done = polytask("fit", table, "--target", "level", "--out", tmp_path / "run")
    assert done.status == 2
    assert "is a file, not a folder" in done.err
    assert (tmp_path / "run").read_text() == "mine"


def test_predict_says_which_column_is_missing(fitted, polytask, table, tmp_path):
    _, out = fitted
    lacking = tmp_path / "lacking.csv"
    pd.read_csv(table).drop(columns="city").to_csv(lacking, index=False)
    done = polytask("predict", out, lacking)
    assert done.status == 2
    assert "'city'" in done.err
    done = polytask("predict", out, table, "--out", tmp_path / "x.xlsx")
    assert "`--out` must end with .csv, .tsv or .parquet" in done.err


def test_evaluate_without_labels(fitted, polytask, table, tmp_path):
    _, out = fitted
    empty = tmp_path / "empty.csv"
    pd.read_csv(table).assign(level=None, ill=None).to_csv(empty, index=False)
    done = polytask("evaluate", out, empty)
    assert done.status == 2
    assert "has no labels. Use polytask predict" in done.err


def test_report_without_a_report(polytask, tmp_path):
    done = polytask("report", tmp_path)
    assert done.status == 2
    assert "There is no report at" in done.err
    (tmp_path / "report.json").write_text("{")
    assert polytask("report", tmp_path).status == 2


def test_many_tasks_are_shown_in_a_few_lines(polytask, tmp_path, quick):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"x": generator.normal(size=800)})
    frame["school"] = [f"s{i % 40}" for i in range(800)]
    frame["score"] = frame["x"] + generator.normal(size=800)
    long = tmp_path / "long.csv"
    frame.to_csv(long, index=False)
    words = ["--target", "score", "--task-column", "school", "--out", tmp_path / "run"]
    done = polytask("fit", long, *words, *quick)
    assert done.status == 0, done.err
    assert "40 tasks" in done.out
    assert "… 28 more tasks in the report." in done.out
    measured = polytask("evaluate", tmp_path / "run", long).out
    assert measured.count("rmse ↓") == 40
    assert "mae" not in measured


def test_a_method_that_combines_gradients(polytask, table, tmp_path, quick):
    out = tmp_path / "run"
    done = polytask(
        "fit", table, "--target", "level", "--target", "ill", "--id", "patient", "--out", out,
        "--balance", "upgrad", "--set", "balance.every=2", *quick,
    )  # fmt: skip
    assert done.status == 0, done.err
    balance = read_toml(out / "run.toml")["balance"]
    assert (balance["name"], balance["every"]) == ("upgrad", 2)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["history"]["epochs"][0]["geometry"]["updates"] > 0
    again = polytask("fit", table, "--config", out / "run.toml", "--out", tmp_path / "again")
    assert again.status == 0, again.err
    refused = polytask(
        "fit", table, "--target", "level", "--out", out, "--balance", "upgrd", *quick
    )
    assert refused.status == 2
    assert "Did you mean 'upgrad'" in refused.err


def test_balancing_methods_say_what_they_need_and_promise(polytask):
    done = polytask("methods", "balancing")
    assert done.status == 0
    assert "non-conflicting" in done.out
    assert "needs losses" in done.out
    assert "effective learning rate" in done.out
