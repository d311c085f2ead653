"""Every Python and shell snippet of README and docs runs as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def snippets(page: Path) -> str:
    """All Python blocks of a page as one program, console blocks as subprocess calls in order."""
    parts = ["import subprocess as _subprocess"]
    for language, body in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            parts.append(body)
        else:
            commands = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
            parts += [f"_subprocess.run({c!r}, shell=True, check=True)" for c in commands]
    return "\n".join(parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page_runs(page: Path, tmp_path: Path):
    program = snippets(page)
    script = tmp_path / "page.py"
    script.write_text(program, encoding="utf-8")
    binaries = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": binaries + os.pathsep + os.environ["PATH"]}
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, f"{page.name}:\n{run.stderr[-3000:]}"


def test_readme_names_both_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_links_inside_the_repository_exist():
    pages = [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", prose(page))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken
