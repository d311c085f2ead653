"""``polytask doctor``: is this machine ready? Every trouble with one thing to do about it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

Status = Literal["ok", "warn", "fail"]
MINIMUM_PYTHON = (3, 11)
MODULES = {"scikit-learn": "sklearn", "vl-convert-python": "vl_convert"}
"""Distributions whose module has another name."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LITTLE_SPACE, NO_SPACE = 2**30, 2**26


@dataclass(frozen=True)
class Check:
    """One line of the doctor's list.

    Args:
        name: What was looked at.
        status: ``ok``, ``warn`` or ``fail``.
        found: What was found.
        action: The one thing to do; empty if all is well.
    """

    name: str
    status: Status
    found: str
    action: str = ""


class Machine(Protocol):
    """What the doctor asks; `probe.Probe` answers for the machine that it runs on."""

    def python(self) -> tuple[int, int, int]: ...  # noqa: D102 (see Probe)
    def version(self, package: str) -> str | None: ...  # noqa: D102
    def requirements(self) -> list[str]: ...  # noqa: D102
    def import_error(self, module: str) -> str | None: ...  # noqa: D102
    def cuda_available(self) -> bool: ...  # noqa: D102
    def cuda_build(self) -> str | None: ...  # noqa: D102
    def cuda_name(self) -> str: ...  # noqa: D102
    def has_nvidia_driver(self) -> bool: ...  # noqa: D102
    def cores(self) -> int: ...  # noqa: D102
    def variable(self, name: str) -> str | None: ...  # noqa: D102
    def temporary_folder(self) -> Path: ...  # noqa: D102
    def working_folder(self) -> Path: ...  # noqa: D102
    def write_error(self, folder: Path) -> str | None: ...  # noqa: D102
    def free_bytes(self, folder: Path) -> int: ...  # noqa: D102
    def encodings(self) -> tuple[str, str]: ...  # noqa: D102
    def bundle_error(self) -> str | None: ...  # noqa: D102


def doctor() -> None:
    """Check whether this machine is ready, and say what to do if not."""
    from .probe import Probe

    checks = examine(Probe())
    show(checks)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


def examine(machine: Machine) -> list[Check]:
    """Every check, in the order of the list.

    A check never raises because an earlier one failed: without torch, what needs torch is left
    out.
    """
    checks = [_python(machine), *_packages(machine)]
    if not any(check.name == "torch" and check.status == "fail" for check in checks):
        checks += [_cuda(machine), _bundle(machine)]
    checks += [_threads(machine), *_folders(machine), _space(machine), _encoding(machine)]
    return checks


def show(checks: "Sequence[Check]") -> None:
    """The list, with a last sentence."""
    from rich.table import Table
    from rich.text import Text

    from .console import output

    console = output()
    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    grid = Table.grid(padding=(0, 2))
    for check in checks:
        found = Text(check.found)
        if check.action:
            found.append(f"\n→ {check.action}", style="bold")
        grid.add_row(Text(check.status, style=colours[check.status]), Text(check.name), found)
    console.print(grid)
    bad = [check.name for check in checks if check.status == "fail"]
    doubts = [check.name for check in checks if check.status == "warn"]
    if bad:
        console.print(f"\n[bold red]Not ready:[/] {', '.join(bad)}.")
    elif doubts:
        console.print(f"\n[bold]Ready[/], with a doubt about: {', '.join(doubts)}.")
    else:
        console.print("\n[bold green]Ready.[/]")


def _python(machine: Machine) -> Check:
    found = ".".join(str(part) for part in machine.python())
    if machine.python()[:2] < MINIMUM_PYTHON:
        return Check("python", "fail", f"{found} is too old", "Install Python 3.11 or newer.")
    return Check("python", "ok", found)


def _packages(machine: Machine) -> Iterator[Check]:
    for requirement in machine.requirements():
        parsed = re.match(r"([A-Za-z0-9._-]+)\s*(?:\(?>=\s*([0-9][0-9.]*))?", requirement)
        assert parsed is not None, requirement
        yield _package(machine, parsed.group(1), parsed.group(2) or "0")


def _package(machine: Machine, name: str, minimum: str) -> Check:
    action = f"pip install --upgrade '{name}>={minimum}'"
    found = machine.version(name)
    if found is None:
        return Check(name, "fail", "is not installed", action)
    if _numbers(found) < _numbers(minimum):
        return Check(name, "fail", f"{found} is older than {minimum}", action)
    error = machine.import_error(MODULES.get(name, name.replace("-", "_")))
    if error is not None:
        again = f"pip install --force-reinstall '{name}>={minimum}'"
        return Check(name, "fail", f"{found} cannot be imported ({error})", again)
    return Check(name, "ok", found)


def _numbers(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` → (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _cuda(machine: Machine) -> Check:
    if machine.cuda_available():
        return Check("cuda", "ok", machine.cuda_name())
    if not machine.has_nvidia_driver():
        return Check("cuda", "ok", "no NVIDIA device here: training runs on the CPU")
    if machine.cuda_build() is None:
        return Check(
            "cuda",
            "warn",
            "an NVIDIA driver is present, and torch is a build for the CPU",
            "Install the CUDA build: see pytorch.org/get-started.",
        )
    return Check(
        "cuda",
        "fail",
        f"an NVIDIA driver is present, and torch (built for CUDA {machine.cuda_build()}) cannot "
        "use it",
        "Update the NVIDIA driver, or install the torch build for its CUDA version; to train on "
        "the CPU now: --set training.device=cpu.",
    )


def _bundle(machine: Machine) -> Check:
    error = machine.bundle_error()
    if error is not None:
        return Check("bundle", "fail", error, "Reinstall safetensors, and check the disk.")
    return Check("bundle", "ok", "safetensors is written and read back")


def _threads(machine: Machine) -> Check:
    cores = machine.cores()
    for name in THREAD_VARIABLES:
        value = machine.variable(name)
        if value is None:
            continue
        if not all(part.strip().isdecimal() and int(part) > 0 for part in value.split(",")):
            return Check(
                "threads",
                "fail",
                f"{name}={value} is not a number of threads",
                f"unset {name}, or export {name}={cores}",
            )
        if int(value.split(",")[0]) > cores:
            return Check(
                "threads",
                "warn",
                f"{name}={value}, and there are {cores} cores: threads wait for each other",
                f"export {name}={cores}",
            )
    return Check("threads", "ok", f"{cores} core{'s' * (cores != 1)}")


def _folders(machine: Machine) -> Iterator[Check]:
    folders: tuple[tuple[str, Callable[[], Path], str], ...] = (
        ("temporary folder", machine.temporary_folder, "Set TMPDIR to a folder of yours."),
        ("working folder", machine.working_folder, "Go to a folder of yours, or use --out."),
    )
    for name, find, action in folders:
        try:
            folder = find()
        except OSError as error:
            yield Check(name, "fail", f"there is none ({error.strerror})", action)
            continue
        error_text = machine.write_error(folder)
        if error_text is not None:
            yield Check(name, "fail", f"{folder} cannot be written: {error_text}", action)
        else:
            yield Check(name, "ok", str(folder))


def _space(machine: Machine) -> Check:
    try:
        free = machine.free_bytes(machine.working_folder())
    except OSError as error:
        return Check("disk space", "fail", f"unknown ({error.strerror})", "Check the disk.")
    shown = f"{free / 2**30:.1f} GiB free"
    action = "Free some space, or write elsewhere with --out."
    if free < NO_SPACE:
        return Check("disk space", "fail", f"{free / 2**20:.0f} MiB free", action)
    return Check(
        "disk space", "warn" if free < LITTLE_SPACE else "ok", shown, action * (free < LITTLE_SPACE)
    )


def _encoding(machine: Machine) -> Check:
    names = [name.lower().replace("-", "") for name in machine.encodings()]
    if all(name == "utf8" for name in names):
        return Check("encoding", "ok", "UTF-8")
    return Check(
        "encoding",
        "warn",
        f"terminal {machine.encodings()[0]}, file names {machine.encodings()[1]}",
        "export PYTHONUTF8=1",
    )
