"""The frame around the verbs: help, version, errors, signals, pipes."""

import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from polytask import __version__
from polytask.cli import main as module
from polytask.errors import DataError, PolytaskWarning

VERBS = ["fit", "predict", "evaluate", "report", "methods", "doctor", "demo"]


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "polytask", *map(str, arguments)],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def test_version(polytask):
    done = polytask("--version")
    assert (done.status, done.out) == (0, f"polytask {__version__}\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(polytask, verb):
    assert f"polytask {verb}" in polytask(verb, "--help").out
    assert verb in polytask("--help").out


@pytest.mark.parametrize("verb", VERBS)
def test_help_loads_nothing_heavy(verb):
    code = (
        "import sys, contextlib, io\n"
        f"sys.argv = ['polytask', {verb!r}, '--help']\n"
        "from polytask.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()\n"
        "print(*{'torch', 'pandas', 'numpy', 'sklearn', 'altair'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_python_m_and_an_unknown_verb():
    done = command("fti")
    assert done.returncode == 2
    assert "fit" in done.stderr
    assert "Traceback" not in done.stderr


def test_methods(polytask):
    done = polytask("methods")
    assert done.status == 0
    assert all(name in done.out for name in ("equal", "residual-mlp", "flat-cosine", "regret"))
    assert "pooled" not in polytask("methods", "task").out
    done = polytask("methods", "taks")
    assert (done.status, "Did you mean 'task'" in done.err) == (2, True)


@pytest.mark.parametrize("place", [0, 2])
def test_debug_shows_where_it_happened(polytask, monkeypatch, place):
    words = ["report", "nowhere"]
    words.insert(place, "--debug")
    monkeypatch.setattr(sys, "argv", ["polytask", *words])
    with pytest.raises(OSError, match="There is no report"):
        module.main()


def failing(error):
    def app(*_, **__):
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (DataError("Column [a] is empty."), 2, "Error: Column [a] is empty.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (MemoryError(), 2, "Error: The memory is full."),
    ],
)
def test_errors_become_a_sentence(polytask, monkeypatch, error, status, words):
    monkeypatch.setattr(module, "app", failing(error))
    done = polytask("fit")
    assert done.status == status
    assert done.err.startswith(words)
    assert done.err.count("\n") == 1


def test_a_bug_is_not_dressed_up_as_a_mistake(monkeypatch):
    monkeypatch.setattr(module, "app", failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        module.main(["fit"])


def test_our_warnings_are_notes_and_others_are_silent(polytask, monkeypatch):
    def app(*_, **__):
        warnings.simplefilter("always")
        warnings.warn("[x] is ignored.", PolytaskWarning, stacklevel=1)
        warnings.warn("internal", FutureWarning, stacklevel=1)

    monkeypatch.setattr(module, "app", app)
    done = polytask("fit")
    assert (done.status, done.err) == (0, "Note: [x] is ignored.\n")


def test_a_terminal_without_unicode_gets_question_marks():
    done = command("methods", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "Holzm?ller" in done.stdout


def test_a_closed_pipe_is_quiet(table, polytask, tmp_path, quick):
    assert polytask("fit", table, "--target", "level", "--out", tmp_path, "-q", *quick).status == 0
    big = tmp_path / "big.csv"
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    big.write_text("\n".join([header, *lines * 200]), encoding="utf-8")
    words = f"'{sys.executable}' -m polytask predict '{tmp_path}' '{big}' | head -n 1"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False)
    assert done.stdout == "level\n"
    assert done.stderr == ""


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_model(table, tmp_path):
    fit = [
        sys.executable, "-m", "polytask", "fit", str(table), "--target", "level",
        "--out", str(tmp_path), "--set", "training.epochs=100000",
        "--set", "training.stopping=none",
    ]  # fmt: skip
    process = subprocess.Popen(fit, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "epoch 1/" in process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Interrupted in epoch" in err
    assert f"are in {tmp_path / 'model.safetensors'}" in err
    assert err.rstrip().endswith("--resume")
    assert "Traceback" not in err
    assert (tmp_path / "model.safetensors").exists()
