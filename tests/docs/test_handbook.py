"""The tables and commands of the handbook say what the code does.

Run as a program, this file writes the tables anew.
"""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from polytask.cli.arguments import Typed, merge
from polytask.config.build import build_penalties
from polytask.config.presets import PRESETS

DOCS = Path(__file__).parents[2] / "docs"
HANDBOOK = DOCS / "overfitting.md"
FLAGS = {"--resume", "--quiet", "-q"}


def table_of(name: str) -> str:
    """What stands between the marks of a table that code decides."""
    text = HANDBOOK.read_text(encoding="utf-8")
    found = re.search(rf"<!-- begin {name} -->\n(.*?)<!-- end {name} -->", text, re.S)
    assert found, f"{HANDBOOK.name} has no table {name!r}"
    return found[1]


def rendered(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def presets_table() -> str:
    rows = []
    for preset in PRESETS.values():
        changes = [
            f"`{section}.{key} = {_shown(value)}`"
            for (section, key), value in preset.values.items()
        ]
        changes += [f"`{entry['name']}` {entry['strength']:g}" for entry in preset.penalties]
        rows.append(
            (f"`{preset.name}`", preset.one_line, ", ".join(changes) or "nothing", preset.cost)
        )
    return rendered(
        ("preset", "what it is for", "changes against the defaults", "cost against `safe`"), rows
    )


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def refusals_table() -> str:
    refusals = importlib.import_module("polytask.training.combinations").REFUSALS
    rows = [(refusal.one, refusal.other, refusal.why) for refusal in refusals]
    return rendered(("this", "with this", "because"), rows)


TABLES = {"presets": presets_table}
if importlib.util.find_spec("polytask.training.combinations"):
    TABLES["refusals"] = refusals_table


def write_tables() -> None:
    text = HANDBOOK.read_text(encoding="utf-8")
    for name, made in TABLES.items():
        marks = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        new = made().replace("\\", r"\\")
        text = re.sub(marks, rf"\g<1>{new}\g<2>", text, flags=re.S)
    HANDBOOK.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_code(name: str):
    assert table_of(name) == TABLES[name](), f"run: python {Path(__file__).name}"


def commands(page: Path) -> list[str]:
    """Every `polytask fit` of a page, in blocks and in the middle of a sentence."""
    text = page.read_text(encoding="utf-8").replace("\\|", "|")
    found = re.findall(r"`(polytask fit [^`]+)`", text)
    found += re.findall(r"^(?:\$ | {4})(polytask fit .+)$", text, re.M)
    options = re.findall(r"`(--(?:set|penalty|defence|balance) [^`]+)`", text)
    return found + [f"polytask fit t.csv --target y --target z {option}" for option in options]


def typed(command: str) -> Typed:
    words = shlex.split(command)[3:]
    several: dict[str, list[str]] = {"--target": [], "--penalty": [], "--set": [], "--id": []}
    single: dict[str, str] = {}
    while words:
        option = words.pop(0)
        if option in FLAGS:
            continue
        assert option.startswith("--"), command
        value = words.pop(0)
        if option in several:
            several[option].append(value)
        else:
            single[option] = value
    valid = single.get("--valid")
    return Typed(
        targets=several["--target"],
        group=single.get("--group"),
        time=single.get("--time"),
        valid=None if valid == "FILE" else valid,
        balance=single.get("--balance"),
        defence=single.get("--defence"),
        penalties=several["--penalty"],
        overrides=several["--set"],
    )


def all_commands() -> list[str]:
    pages = [HANDBOOK, DOCS / "coming-from-a-tutorial.md", DOCS / "decay.md"]
    return sorted({command for page in pages for command in commands(page)})


@pytest.mark.parametrize("command", all_commands())
def test_commands_are_understood(command: str):
    if "NAME" in command or "COLUMN" in command:
        pytest.skip("a form, not a command")
    run, _ = merge(typed(command))
    build_penalties(run.penalties)


def test_commands_are_found_and_a_wrong_one_is_noticed():
    assert len(all_commands()) > 20
    for wrong in (
        "--set inputs.mixpu=1",
        "--defence strongest",
        "--balance eqaul",
        "--penalty l3=1",
    ):
        with pytest.raises(ValueError, match=r"does not exist|must be"):
            build_penalties(merge(typed(f"polytask fit t.csv --target y {wrong}"))[0].penalties)


FAMILIES = ["objective", "inputs", "update", "weights", "outputs", "features"]
INTERFACES = {
    "BoundPenalties", "Climb", "InputRegularizer", "Layout", "Mixing", "Penalty", "PenaltySummary",
    "TeacherOutputs", "WeightAverage", "Zeros",
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_every_technique_is_in_the_handbook(family: str):
    text = HANDBOOK.read_text(encoding="utf-8")
    room = importlib.import_module(f"polytask.regularization.{family}")
    techniques = {name for name in room.__all__ if name[0].isupper()} - INTERFACES
    missing = [name for name in techniques if not re.search(rf"\b{name}\b", text)]
    assert techniques
    assert not missing, f"{HANDBOOK.name} says nothing about {sorted(missing)}"


if __name__ == "__main__":
    write_tables()
