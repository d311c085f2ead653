import re
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

import polytask
from polytask._files import fail_points
from polytask._files.fail_points import FAIL_POINTS, KILLED, Armed, fail_point, parse
from polytask.errors import InvalidArgument

HITS = "\n".join(
    [
        "from polytask._files import fail_point",
        "for number in range(1, 5):",
        "    fail_point('epoch.end')",
        "    print(number, flush=True)",
    ]
)


def run(value):
    return subprocess.run(
        [sys.executable, "-c", HITS],
        env={"POLYTASK_FAIL_POINT": value},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("value", "printed"), [("epoch.end", ""), ("epoch.end:3", "1\n2\n")])
def test_kills_at_the_asked_hit(value, printed):
    result = run(value)
    assert result.returncode == KILLED
    assert result.stdout == printed


def test_another_fail_point_does_not_go_off():
    assert run("atomic.before-rename").stdout == "1\n2\n3\n4\n"


def test_unknown_name_is_loud():
    result = run("epoch.finish")
    assert result.returncode == 1
    assert "'epoch.finish' does not exist. Did you mean 'epoch.end'?" in result.stderr


def test_error_hits_once_at_its_number():
    armed = parse("step.before-optimizer!error:2")
    assert armed == Armed("step.before-optimizer", True, 2)
    armed.hit("step.before-optimizer")
    with pytest.raises(OSError, match="No space left"):
        armed.hit("step.before-optimizer")
    armed.hit("step.before-optimizer")


@pytest.mark.parametrize("text", ["epoch.end:0", "epoch.end:x", "epoch.end!boom", "epoch.end:-1"])
def test_malformed_value(text):
    with pytest.raises(InvalidArgument, match="must look like"):
        parse(text)


def test_nothing_armed_by_default():
    assert parse("") is None


def test_an_unlisted_place_in_the_code_is_an_error_once_armed(monkeypatch):
    monkeypatch.setattr(fail_points, "_ARMED", parse("epoch.end:9"))
    with pytest.raises(InvalidArgument, match="does not exist"):
        fail_point("nowhere")


def test_every_place_in_the_source_is_listed():
    source = Path(polytask.__file__).parent
    used = {
        name
        for file in source.rglob("*.py")
        for name in re.findall(r"(?<!>>> )\bfail_point\(\"([^\"]+)\"\)", file.read_text("utf-8"))
    }
    assert "atomic.before-rename" in used
    assert used <= set(FAIL_POINTS)


def test_costs_nothing_when_unset():
    # A call costs about 30 ns; 2 µs allows for a busy machine and is nothing next to a step.
    assert min(timeit.repeat(lambda: fail_point("epoch.end"), number=10_000, repeat=5)) < 0.02
