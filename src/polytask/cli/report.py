"""``polytask report``: the HTML report again, from the JSON beside it."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run, or its report.json.")
    ],
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Render report.html again from report.json."""
    from polytask.errors import FileProblem
    from polytask.reports import read_json, write_html

    from .console import output
    from .tables import show_result

    source = run / "report.json" if run.is_dir() else run
    if not source.exists():
        raise FileProblem(
            f"There is no report at '{source}'. Make one: polytask fit TABLE --target NAME "
            f"--out {run}."
        )
    found = read_json(source)
    target = source.with_suffix(".html")
    write_html(found, target)
    console = output()
    show_result(console, found)
    console.print(f"report   {target}")
    if open_:
        import webbrowser

        webbrowser.open(target.resolve().as_uri())
