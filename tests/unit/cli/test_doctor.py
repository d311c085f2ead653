"""A healthy machine passes; each broken one is named, with one thing to do."""

from pathlib import Path
from typing import ClassVar

import pytest

from polytask.cli.doctor import Check, examine
from polytask.cli.probe import Probe


class Healthy:
    """A machine without trouble; tests break one thing of it."""

    versions: ClassVar = {"torch": "2.6.0+cu124", "numpy": "1.26.4", "scikit-learn": "1.6.0"}
    variables: ClassVar = {}
    free = 2**34
    unwritable: ClassVar = {}
    imports: ClassVar = {}
    cuda, driver, build = False, False, None

    def python(self):
        return (3, 11, 9)

    def requirements(self):
        return ["torch>=2.6", "numpy (>=1.26)", "scikit-learn>=1.6"]

    def version(self, package):
        return self.versions.get(package)

    def import_error(self, module):
        return self.imports.get(module)

    def cuda_available(self):
        assert "torch" in self.versions, "nothing of torch is asked without torch"
        return self.cuda

    def cuda_build(self):
        return self.build

    def cuda_name(self):
        return "Some GPU"

    def has_nvidia_driver(self):
        return self.driver

    def cores(self):
        return 4

    def variable(self, name):
        return self.variables.get(name)

    def temporary_folder(self):
        return Path("/tmp")

    def working_folder(self):
        return Path("/work")

    def write_error(self, folder):
        return self.unwritable.get(str(folder))

    def free_bytes(self, folder):
        return self.free

    def encodings(self):
        return "utf-8", "utf-8"

    def bundle_error(self):
        return None


def machine(**changes):
    return type("Broken", (Healthy,), changes)()


def found(probe, status):
    return [check for check in examine(probe) if check.status == status]


def test_a_healthy_machine():
    checks = examine(machine())
    assert {check.status for check in checks} == {"ok"}
    assert all(check.action == "" for check in checks)


BROKEN = {
    "missing torch": (
        {"versions": {"numpy": "1.26.4", "scikit-learn": "1.6.0"}},
        Check("torch", "fail", "is not installed", "pip install --upgrade 'torch>=2.6'"),
    ),
    "old torch": (
        {"versions": {**Healthy.versions, "torch": "2.5.1"}},
        Check("torch", "fail", "2.5.1 is older than 2.6", "pip install --upgrade 'torch>=2.6'"),
    ),
    "missing package": (
        {"versions": {"torch": "2.6.0", "numpy": "1.26.4"}},
        Check(
            "scikit-learn", "fail", "is not installed", "pip install --upgrade 'scikit-learn>=1.6'"
        ),
    ),
    "unwritable folder": (
        {"unwritable": {"/work": "read-only file system"}},
        Check(
            "working folder",
            "fail",
            "/work cannot be written: read-only file system",
            "Go to a folder of yours, or use --out.",
        ),
    ),
    "broken CUDA driver": (
        {"driver": True, "build": "12.4"},
        Check(
            "cuda",
            "fail",
            "an NVIDIA driver is present, and torch (built for CUDA 12.4) cannot use it",
            "Update the NVIDIA driver, or install the torch build for its CUDA version; to train "
            "on the CPU now: --set training.device=cpu.",
        ),
    ),
    "no disk space": (
        {"free": 3 * 2**20},
        Check(
            "disk space", "fail", "3 MiB free", "Free some space, or write elsewhere with --out."
        ),
    ),
    "threads": (
        {"variables": {"OMP_NUM_THREADS": "abc"}},
        Check(
            "threads",
            "fail",
            "OMP_NUM_THREADS=abc is not a number of threads",
            "unset OMP_NUM_THREADS, or export OMP_NUM_THREADS=4",
        ),
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_environments_are_named(changes, expected):
    assert found(machine(**changes), "fail") == [expected]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"driver": True, "build": None}, "cuda"),
        ({"variables": {"MKL_NUM_THREADS": "64"}}, "threads"),
        ({"free": 2**29}, "disk space"),
        ({"encodings": lambda self: ("ascii", "utf-8")}, "encoding"),
    ],
)
def test_doubts(changes, name):
    (check,) = found(machine(**changes), "warn")
    assert check.name == name
    assert check.action


def test_a_package_that_does_not_import_and_an_old_python():
    (check,) = found(machine(imports={"sklearn": "ImportError: no libgomp"}), "fail")
    assert (check.name, check.found) == (
        "scikit-learn",
        "1.6.0 cannot be imported (ImportError: no libgomp)",
    )
    (check,) = found(machine(python=lambda self: (3, 10, 0)), "fail")
    assert check.name == "python"


def test_a_deleted_working_folder():
    def gone(self):
        raise FileNotFoundError(2, "No such file or directory")

    names = {check.name for check in found(machine(working_folder=gone), "fail")}
    assert names == {"working folder", "disk space"}


def test_versions_are_compared_as_numbers():
    # As text, "2.13.0" < "2.6".
    assert not found(machine(versions={**Healthy.versions, "torch": "2.13.0"}), "fail")


def test_this_machine_answers(tmp_path):
    probe = Probe()
    assert probe.python() >= (3, 11, 0)
    assert any(line.startswith("torch>=") for line in probe.requirements())
    assert not any("extra" in line for line in probe.requirements())
    assert probe.version("no-such-distribution") is None
    assert probe.import_error("no_such_module").startswith("ModuleNotFoundError")
    assert probe.write_error(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert probe.write_error(tmp_path / "missing") == "no such file or directory"
    assert probe.bundle_error() is None
    assert probe.cores() >= 1
    assert probe.free_bytes(tmp_path) > 0


def test_the_command(polytask, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "abc")
    done = polytask("doctor")
    assert done.status == 1
    assert "OMP_NUM_THREADS=abc is not a number of threads" in done.out
    assert "Not ready:" in done.out
