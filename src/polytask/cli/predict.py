"""``polytask predict``: a table with the predictions of a trained model."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pandas import DataFrame


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder of a run, or its model.safetensors.")
    ],
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="CSV, TSV (also .gz) or Parquet file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write to this .csv, .tsv or .parquet file. Default: print CSV."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Predict only this task; repeat it."),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            metavar="N", help="Average over N dropout masks, and add how far predictions scatter."
        ),
    ] = 0,
) -> None:
    """Predict every row of a table.

    Id columns come first, then each task, then class probabilities.
    """
    _check_suffix(out)
    from polytask.data import read_table
    from polytask.export import load

    bundle = load(model)
    data = bundle.run.get("data", {})
    frame = read_table(table, separator=data.get("separator"), encoding=data.get("encoding"))
    predictions = bundle.predict(frame, tasks=task or None, samples=samples)
    if out is None:
        predictions.to_csv(sys.stdout, index=False)
        return
    write_table(predictions, out)
    from .console import errors

    errors().print(f"{len(predictions):,} rows written to {out}")


def _check_suffix(out: Path | None) -> None:
    from polytask.errors import InvalidArgument

    if out is not None and out.suffix not in (".csv", ".tsv", ".parquet"):
        raise InvalidArgument(
            f"`--out` must end with .csv, .tsv or .parquet; got '{out}'. Rename it."
        )


def write_table(frame: "DataFrame", path: Path) -> None:
    """Writes a table atomically; the suffix says in which form.

    Raises:
        FileProblem: If the place is not writable.
    """
    import io

    from polytask._files import make_folder, write_bytes, write_text

    make_folder(path.parent)
    if path.suffix == ".parquet":
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        write_bytes(path, buffer.getvalue())
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        write_text(path, frame.to_csv(index=False, sep=separator, lineterminator="\n"))
