"""``polytask fit``: from a table to a trained, explained model."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

    from polytask.config.run import RunConfig
    from polytask.pipeline import FitResult

COLUMNS = "Columns"
ROWS = "Rows"
METHOD = "Method"
PLACE = "Where and how"
Names = list[str]


def fit(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV, TSV (also .gz) or Parquet file.")
    ],
    target: Annotated[
        Names | None,
        typer.Option(
            metavar="NAME[:KIND]",
            help="A column to predict; repeat it. KIND: regression, binary, multiclass, count.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    task_column: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Long table: each row belongs to the task named here.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Weight of each row.", rich_help_panel=COLUMNS),
    ] = None,
    id_: Annotated[
        Names | None,
        typer.Option(
            "--id",
            metavar="COLUMN",
            help="Passed through to predictions, never an input; repeat it.",
            rich_help_panel=COLUMNS,
        ),
    ] = None,
    ignore: Annotated[
        Names | None,
        typer.Option(metavar="COLUMN", help="Not an input; repeat it.", rich_help_panel=COLUMNS),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Rows of one group stay on one side of the split.",
            rich_help_panel=ROWS,
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Validate on the latest rows.", rich_help_panel=ROWS),
    ] = None,
    valid: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FRACTION",
            help="Rows that choose the epoch: a file, or a share of the table (default 0.2).",
            rich_help_panel=ROWS,
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Rows that decide nothing, for the report.", rich_help_panel=ROWS
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How tasks share the update: see polytask methods balancing.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    defence: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Preset against overfitting: off, safe (default), strong, small, linear.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    penalty: Annotated[
        Names | None,
        typer.Option(
            metavar="NAME=STRENGTH",
            help="A penalty on the weights, such as l1=0.001; repeat it.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Run file (TOML); options win over it.", rich_help_panel=METHOD
        ),
    ] = None,
    set_: Annotated[
        Names | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any option of the run file, such as model.width=64; repeat it.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Start of all randomness (default 0).", rich_help_panel=METHOD),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the run.", rich_help_panel=PLACE)
    ] = Path("run"),
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where a run was stopped.", rich_help_panel=PLACE),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=PLACE)
    ] = False,
) -> None:
    """Train one model on several columns of a table.

    Writes model, report, run file and checkpoint into the folder of the run.
    An earlier model there is replaced when this run has ended well.
    """
    from .arguments import Typed, merge

    run, valid_file = merge(
        Typed(
            targets=target or (),
            task_column=task_column,
            group=group,
            time=time,
            weight=weight,
            id=id_ or (),
            ignore=ignore or (),
            valid=valid,
            balance=balance,
            defence=defence,
            penalties=penalty or (),
            seed=seed,
            config=config,
            overrides=set_ or (),
        )
    )
    from .console import errors, output

    console, progress = output(), errors()
    console.quiet = progress.quiet = quiet
    frames = [None if path is None else _read(path, run) for path in (table, valid_file, test)]
    frame, valid_frame, test_frame = frames
    assert frame is not None
    result = train(
        frame,
        run,
        name=table.name,
        out=out,
        valid=valid_frame,
        test=test_frame,
        resume=resume,
        console=console,
        progress_console=progress,
    )
    finish(result, out, console, table)
    if result.history.stopped == "interrupted":
        _interrupted(result, out, progress)


def train(
    frame: "DataFrame",
    run: "RunConfig",
    *,
    name: str,
    out: Path,
    valid: "DataFrame | None" = None,
    test: "DataFrame | None" = None,
    resume: bool = False,
    console: "Console",
    progress_console: "Console",
) -> "FitResult":
    """Fits with live progress, and closes the display whatever happens."""
    from polytask.pipeline import Prepared, fit_table

    from .progress import Progress
    from .tables import show_defence, show_prepared

    def announce(prepared: Prepared) -> None:
        show_prepared(console, prepared, name)
        show_defence(console, prepared, run)
        if (out / "model.safetensors").exists() and not resume:
            console.print(f"[dim]{out} holds a model; it is replaced when this run ends well.[/]")

    progress = Progress(progress_console)
    try:
        result = fit_table(
            frame,
            run,
            valid=valid,
            test=test,
            out=out,
            resume=resume,
            callbacks=() if progress_console.quiet else (progress,),
            announce=announce,
        )
    except KeyboardInterrupt:
        progress.close()
        progress_console.print(
            "Interrupted before a model was saved; an earlier one was not touched. If training had "
            "begun, the same command with --resume goes on."
        )
        raise typer.Exit(130) from None
    finally:
        progress.close()
    return replace(result, report=replace(result.report, title=name))


def finish(result: "FitResult", out: Path, console: "Console", table: Path) -> None:
    """Writes the report, shows the result, and says what to type next."""
    from polytask.reports import write_html, write_json

    from .tables import show_result

    write_json(result.report, out / "report.json")
    write_html(result.report, out / "report.html")
    show_result(console, result.report)
    console.print(f"model    {out / 'model.safetensors'}")
    console.print(f"report   {out / 'report.html'}")
    command = shlex.join(["polytask", "predict", str(out), str(table)])
    console.print(f"predict  [bold]{command}[/]", soft_wrap=True)


def _read(path: Path, run: "RunConfig") -> "DataFrame":
    from polytask.data import read_table

    return read_table(path, separator=run.data.separator, encoding=run.data.encoding)


def _interrupted(result: "FitResult", out: Path, console: "Console") -> None:
    """The sentence after Ctrl-C, and its exit status."""
    history = result.history
    words = [word for word in sys.argv[1:] if word != "--resume"]
    console.quiet = False
    console.print(
        f"Interrupted in epoch {len(history.epochs) + 1}; the weights of epoch "
        f"{history.best_epoch} are in {out / 'model.safetensors'}.\n"
        f"Go on: {shlex.join(['polytask', *words, '--resume'])}",
        soft_wrap=True,
        markup=False,
    )
    raise typer.Exit(130)
