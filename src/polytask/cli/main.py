"""The command line: verbs, and the one place where errors become a sentence and a status."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, TextIO, cast

import typer

from polytask._version import __version__
from polytask.errors import PolytaskError, PolytaskWarning

from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .fit import fit
from .methods import methods
from .predict import predict
from .report import report

DEBUG = "--debug"

# BadParameter(UsageError): the public way to the class of all mistakes in typing a command.
_USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    name="polytask",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (fit, predict, evaluate, report, methods, doctor, demo):
    app.command()(verb)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"polytask {__version__}")
        raise typer.Exit


@app.callback()
def polytask(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="On an error, show where it happened.")
    ] = False,
) -> None:
    """Train one PyTorch model on many tasks, and see whether it was worth it.

    Start with [bold]polytask demo[/], or [bold]polytask fit TABLE --target NAME --target NAME[/].
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits.

    Status 0: done. 1: `doctor` found a failure. 2: a mistake, told in one sentence. 130: Ctrl-C.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in typed
    _make_streams_tolerant()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            # --debug may stand anywhere, not only before the verb.
            status = app([word for word in typed if word != DEBUG], standalone_mode=False)
        sys.stdout.flush()
    except PolytaskError as error:
        if debug:
            raise
        status = complain(str(error))
    except _USAGE_ERROR as error:
        status = complain(_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        status = complain("Interrupted.", status=130)
    except BrokenPipeError:
        # The reader (head, a pager) has left; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except MemoryError:
        if debug:
            raise
        status = complain("The memory is full. Close other programs, or use fewer rows.")
    sys.exit(int(status or 0))


def complain(sentence: str, status: int = 2) -> int:
    """Prints one sentence on standard error and returns the exit status."""
    from rich.markup import escape

    from .console import errors

    errors().print(f"[bold red]Error:[/] {escape(sentence)}" if status == 2 else escape(sentence))
    return status


def _usage(error: typer.BadParameter) -> str:
    message = error.format_message().strip()
    if not message:
        return ""
    command = error.ctx.command_path if error.ctx is not None else "polytask"
    return f"{message.rstrip('.')}. See {command} --help."


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings as a sentence; those of others are for developers."""
    del filename, lineno, file, line
    if issubclass(category, PolytaskWarning):
        from rich.markup import escape

        from .console import errors

        errors().print(f"[yellow]Note:[/] {escape(str(message))}")


def _make_streams_tolerant() -> None:
    """A terminal that cannot show a character shows a question mark; it is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _TEXT):
            stream.reconfigure(errors="replace")


_TEXT = type(sys.__stdout__) if sys.__stdout__ is not None else ()
