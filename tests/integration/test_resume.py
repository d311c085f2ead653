"""A run stopped anywhere and resumed ends bit-identical to one that was never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

JOB = Path(__file__).with_name("resume_job.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
KILLED = 137


def start(folder: Path, *arguments: str, fail_point: str = "") -> subprocess.Popen:
    environment = dict(ENVIRONMENT)
    if fail_point:
        environment["POLYTASK_FAIL_POINT"] = fail_point
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(JOB), str(folder), *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


class Jobs:
    """Runs the job, each time in a process of its own; the imports are paid for once."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process

    def run(self, folder: Path, fail_point: str = "-", *, resume: bool = False) -> int:
        print(folder, fail_point, *["--resume"] * resume, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, self.process.stderr.read()
        return int(answer)


@pytest.fixture(scope="module")
def jobs() -> Iterator[Jobs]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(JOB), "--serve"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield Jobs(process)
        process.stdin.close()


@pytest.fixture(scope="module")
def uninterrupted(jobs: Jobs, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("whole")
    assert jobs.run(folder) == 0
    return result(folder)


def result(folder: Path) -> dict[str, str]:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize(
    "point",
    [
        "step.before-optimizer:1",
        "step.before-optimizer:29",
        "step.after-optimizer:17",
        "step.after-optimizer:24",
        "epoch.end:2",
        "checkpoint.before-write:5",
        "atomic.before-fsync:9",
        "atomic.before-rename:20",
        "atomic.after-rename:20",
    ],
)
def test_death_at_a_named_point(
    point: str, jobs: Jobs, uninterrupted: dict[str, str], tmp_path: Path
):
    assert jobs.run(tmp_path, point) == KILLED, "the fail point was not reached"
    assert not (tmp_path / "result.json").exists()
    assert jobs.run(tmp_path, resume=True) == 0
    assert result(tmp_path) == uninterrupted


def test_two_deaths_in_a_row(jobs: Jobs, uninterrupted: dict[str, str], tmp_path: Path):
    assert jobs.run(tmp_path, "step.after-optimizer:8") == KILLED
    assert jobs.run(tmp_path, "step.before-optimizer:11", resume=True) == KILLED
    assert jobs.run(tmp_path, resume=True) == 0
    assert result(tmp_path) == uninterrupted


def test_ctrl_c_and_a_new_process(jobs: Jobs, uninterrupted: dict[str, str], tmp_path: Path):
    """As in a terminal: the job ends by itself, in order, with its best weights."""
    job = start(tmp_path)
    checkpoint = tmp_path / "checkpoint.safetensors"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    job.send_signal(signal.SIGINT)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert json.loads(result(tmp_path)["history"])["stopped"] == "interrupted"
    assert jobs.run(tmp_path, resume=True) == 0
    assert result(tmp_path) == uninterrupted


@pytest.mark.slow
def test_random_kills(uninterrupted: dict[str, str], tmp_path: Path):
    """kill -9 at random moments until the job ends by itself; the seed is printed."""
    seed = int(os.environ.get("POLYTASK_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"POLYTASK_TEST_SEED={seed}")
    moments = random.Random(seed)
    kills = 0
    for _ in range(40):
        job = start(tmp_path, "--resume")
        checkpoint = tmp_path / "checkpoint.safetensors"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        if kills < 8:
            deadline = time.monotonic() + 60
            while job.poll() is None and time.monotonic() < deadline:
                now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
                if now != before:
                    time.sleep(moments.uniform(0.0, 0.15))
                    break
                time.sleep(0.001)
            if job.poll() is None:
                job.send_signal(signal.SIGKILL)
                kills += 1
        job.communicate(timeout=120)
        if job.returncode == 0:
            break
    assert kills >= 1
    assert result(tmp_path) == uninterrupted
