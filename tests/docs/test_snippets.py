"""Every snippet of README and docs runs as printed, and fails as printed where the page says so.

All blocks of a page are one program. A comment on the line before a block changes what is expected:

- ``<!-- raises NAME: part of the message -->``: the block raises that error.
- ``<!-- warns NAME: part of the message -->``: it runs, with that warning.
- ``<!-- shown: why -->``: it is not run.

Blocks of TOML are parts of a run file and are read as such; console blocks are commands.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- (?P<marker>raises|warns|shown)(?: (?P<name>\w+))?: (?P<text>.+?) -->\n)?"
    r"```(?P<language>[a-z]*)\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
HARNESS = """
import subprocess as _subprocess
import sys as _sys
import warnings as _warnings


def _run(name, code, kind=None, text=""):
    raised, seen = None, []
    with _warnings.catch_warnings(record=True) as seen:
        _warnings.simplefilter("always")
        try:
            exec(compile(code, name, "exec"), globals())
        except BaseException as error:
            names = [c.__name__ for c in type(error).__mro__]
            if not isinstance(error, Exception) or kind not in names:
                raise
            raised = error
    if kind is None:
        for warning in seen:
            if warning.category.__name__ == "PolytaskWarning":
                raise AssertionError(f"{name} warns: {warning.message}")
    elif raised is not None:
        assert text in " ".join(str(raised).split()), f"{name} raises: {raised}"
    else:
        said = [str(w.message) for w in seen if w.category.__name__ == kind]
        assert any(text in message for message in said), f"{name}: no {kind} with {text!r}: {said}"


def _toml(name, text):
    import tomllib

    from polytask.config.build import build_penalties
    from polytask.config.validate import run_from_document

    document = tomllib.loads(text)
    document.setdefault("targets", [{"name": "progression"}, {"name": "sex"}])
    build_penalties(run_from_document(document, source=name).penalties)


def _command(command):
    _sys.stdout.flush()
    _subprocess.run(command, shell=True, check=True)


"""


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def program(text: str, name: str) -> str:
    """All blocks of a page as one program."""
    parts = [HARNESS]
    for found in FENCE.finditer(text):
        language, body = found["language"], found["body"]
        line = text[: found.start()].count("\n") + 1
        place = f"{name}:{line}"
        if found["marker"] == "shown":
            continue
        if language == "python":
            expected = f", {found['name']!r}, {found['text']!r}" if found["marker"] else ""
            parts.append(f"_run({place!r}, {body!r}{expected})")
        elif language == "toml":
            parts.append(f"_toml({place!r}, {body!r})")
        elif language == "console":
            commands = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
            parts += [f"_command({command!r})" for command in commands]
    return "\n".join(parts)


def run_program(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    script = folder / "page.py"
    script.write_text(code, encoding="utf-8")
    binaries = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": binaries + os.pathsep + os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page_runs(page: Path, tmp_path: Path):
    run = run_program(program(page.read_text(encoding="utf-8"), page.name), tmp_path)
    assert run.returncode == 0, f"{page.name}:\n{run.stderr[-3000:]}"


BROKEN = {
    "an error that does not come": "<!-- raises ValueError: no -->\n```python\nx = 1\n```",
    "another error": "<!-- raises ValueError: no -->\n```python\n1 / 0\n```",
    "another message": "<!-- raises ValueError: no -->\n```python\nint('a')\n```",
    "a warning that does not come": "<!-- warns UserWarning: no -->\n```python\nx = 1\n```",
    "an error": "```python\n1 / 0\n```",
    "a wrong number": "```python\nassert 1 + 1 == 3\n```",
    "an unannounced warning": (
        "```python\nimport warnings\nfrom polytask import PolytaskWarning\n"
        "warnings.warn('x', PolytaskWarning)\n```"
    ),
    "a penalty that does not exist": '```toml\n[[penalties]]\nname = "l3"\nstrength = 1\n```',
    "an option that does not exist": "```toml\n[inputs]\nmixpu = 0.2\n```",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_wrong_page_is_noticed(fault: str, tmp_path: Path):
    """The harness itself can fail."""
    assert run_program(program(BROKEN[fault], "page"), tmp_path).returncode != 0


def test_every_block_is_found():
    """A marker that is misspelt, or a fence of an unknown language, would silently not run."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = list(FENCE.finditer(text))
        assert len(found) == len(re.findall(r"^```", text, re.M)) // 2, page.name
        marked = [match for match in found if match["marker"]]
        assert len(marked) == len(re.findall(r"^<!-- (?!begin|end)", text, re.M)), page.name
        known = {"python", "console", "toml", "text", ""}
        assert {match["language"] for match in found} <= known, page.name


def test_readme_names_both_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_links_inside_the_repository_exist():
    pages = [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)", prose(page)):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            there = page.parent / path if path else page
            if not there.exists() or (
                anchor and there.suffix == ".md" and anchor not in anchors(there)
            ):
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_pages_do_not_send_readers_to_a_channel_that_is_no_longer_fed():
    """`conda … -c pytorch` may be shown as what not to type, in one place."""
    for page in PAGES:
        if page.name != "coming-from-a-tutorial.md":
            assert "-c pytorch" not in page.read_text(encoding="utf-8"), page.name
