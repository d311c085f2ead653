"""A run stopped anywhere and resumed ends bit-identical to one that was never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

JOB = Path(__file__).with_name("resume_job.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


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


def finish(folder: Path, *arguments: str, fail_point: str = "") -> int:
    job = start(folder, *arguments, fail_point=fail_point)
    _, errors = job.communicate(timeout=120)
    assert job.returncode in (0, 137), errors
    return job.returncode


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("whole")
    assert finish(folder) == 0
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize(
    "point",
    [
        "step.before-optimizer:1",
        "step.before-optimizer:29",
        "step.after-optimizer:17",
        "epoch.end:2",
        "checkpoint.before-write:5",
        "atomic.before-fsync:9",
        "atomic.before-rename:20",
        "atomic.after-rename:20",
    ],
)
def test_death_at_a_named_point(point: str, uninterrupted: dict[str, str], tmp_path: Path):
    assert finish(tmp_path, fail_point=point) == 137, "the fail point was not reached"
    assert not (tmp_path / "result.json").exists()
    assert finish(tmp_path, "--resume") == 0
    resumed = json.loads((tmp_path / "result.json").read_text())
    assert resumed == uninterrupted


def test_two_deaths_in_a_row(uninterrupted: dict[str, str], tmp_path: Path):
    assert finish(tmp_path, fail_point="step.after-optimizer:8") == 137
    assert finish(tmp_path, "--resume", fail_point="step.before-optimizer:11") == 137
    assert finish(tmp_path, "--resume") == 0
    assert json.loads((tmp_path / "result.json").read_text()) == uninterrupted


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
    assert json.loads((tmp_path / "result.json").read_text()) == uninterrupted
