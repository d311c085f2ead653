"""Files and frames in: one table, every cell of a text file kept as text."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytask._checks import nearest, require
from polytask.errors import DataError, FileProblem, InvalidArgument

if TYPE_CHECKING:
    from pandas import DataFrame

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ","}
PARQUET = (".parquet", ".pq")
_SUFFIXES = ".csv, .tsv (also .gz), .parquet"


def read_table(
    path: Path | str, *, separator: str | None = None, encoding: str | None = None
) -> DataFrame:
    r"""Reads a CSV, TSV (both also ``.gz``) or Parquet file.

    Cells of a text file stay texts; an empty one is missing. What "NA" or "?" mean is decided per
    column, later (`infer_schema`).

    Args:
        path: The file; its suffix says what it is.
        separator: Between the cells of a text file; default: comma, or tab for ``.tsv``.
        encoding: Of a text file; default: UTF-8.

    Raises:
        FileProblem: If there is no such file, or it cannot be read, or its suffix is unknown.
        DataError: If it is empty, has ragged rows, duplicate column names, another encoding or
            another separator.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = path.write_text("age,city\n31,Ulm\n,NA\n")
        >>> read_table(path).isna().sum().to_dict()
        {'age': 1, 'city': 0}
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    kind = (
        suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    )
    _require_file(path)
    if kind in PARQUET:
        return as_frame(_read_parquet(path), source=f"{path}")
    if kind not in SEPARATORS:
        raise FileProblem(
            f"{path} has a suffix that polytask cannot read. Supported: {_SUFFIXES}; "
            "convert the file, or rename it if only its name is wrong."
        )
    content = _decode(path, _read_bytes(path, suffixes[-1:] == [".gz"]), encoding)
    return _parse(path, content, separator or SEPARATORS[kind])


def as_frame(table: object, *, source: str = "The table") -> DataFrame:
    """A pandas DataFrame or Arrow table as a DataFrame with texts as column names.

    Nothing is copied that need not be, and the caller's frame is not changed.

    Args:
        table: ``pandas.DataFrame`` or ``pyarrow.Table``.
        source: What to call it in an error.

    Raises:
        InvalidArgument: If it is something else.
        DataError: If column names repeat or have several levels, or there is no column or row.
    """
    import pandas
    import pyarrow

    if isinstance(table, pyarrow.Table):
        _require_distinct(source, table.column_names)
        table = table.to_pandas()
    if not isinstance(table, pandas.DataFrame):
        raise InvalidArgument(
            f"A table must be a pandas DataFrame or an Arrow table; got {type(table).__name__}. "
            "Read a file with polytask.data.read_table(path), or wrap arrays: "
            "pandas.DataFrame(array)."
        )
    if isinstance(table.columns, pandas.MultiIndex):
        raise DataError(
            f"{source} has column names of {table.columns.nlevels} levels; "
            "join them to one name per column first."
        )
    names = [str(name) for name in table.columns]
    _require_distinct(source, names)
    if not names:
        raise DataError(f"{source} has no columns.")
    return table if names == list(table.columns) else table.set_axis(names, axis=1)


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise FileProblem(f"{path} is a folder; name a file in it ({_SUFFIXES}).")
    if not path.exists():
        folder = path.parent
        near = nearest(path.name, [p.name for p in folder.iterdir()]) if folder.is_dir() else None
        hint = f" Did you mean {folder / near}?" if near else ""
        raise FileProblem(f"There is no file {path}.{hint}")


def _read_bytes(path: Path, compressed: bool) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise FileProblem(f"{path} cannot be read: {problem.strerror}.") from problem
    if not compressed:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(
            f"{path} is not a complete gzip file ({problem}); copy or compress it again."
        ) from problem


def _decode(path: Path, data: bytes, encoding: str | None) -> str:
    if not data.strip():
        raise DataError(f"{path} is empty.")
    name = encoding or ("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "")
    try:
        text = data.decode(name or "utf-8-sig")
    except LookupError as problem:
        raise InvalidArgument(
            f"`data.encoding` must be an encoding that Python knows; got {encoding!r}. "
            "Common ones: utf-8, utf-16, latin-1, cp1252."
        ) from problem
    except UnicodeError as problem:
        where = problem.start if isinstance(problem, UnicodeDecodeError) else 0
        line = data.count(b"\n", 0, where) + 1
        other = "latin-1" if name != "latin-1" else "utf-8"
        raise DataError(
            f"{path} is not {name or 'utf-8'} text (byte 0x{data[where]:02x} in line {line}). "
            f"Say its encoding, for example `--set data.encoding={other}`."
        ) from problem
    if "\0" in text:
        raise DataError(
            f"{path} holds zero bytes, so it is no {name or 'utf-8'} text; if it is a text file, "
            "say its encoding, for example `--set data.encoding=utf-16`."
        )
    return text.removeprefix("\ufeff")


def _parse(path: Path, text: str, separator: str) -> DataFrame:
    import pyarrow
    from pyarrow import csv as arrow_csv

    separator = "\t" if separator == "\\t" else separator  # as typed in a shell
    require(len(separator.encode()) == 1, "data.separator", "be one character", separator)
    body = text.lstrip("\r\n")
    blank, text = text.count("\n", 0, len(text) - len(body)), body
    header = next((row for row in csv.reader(io.StringIO(text), delimiter=separator) if row), [])
    names = [name.strip() or f"Unnamed: {place}" for place, name in enumerate(header)]
    _check_separator(path, names, separator)
    _require_distinct(str(path), names)
    options = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pyarrow.large_string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(text.encode()),
            read_options=arrow_csv.ReadOptions(
                column_names=names,
                skip_rows_after_names=1,
                use_threads=False,
                # A row, and a cell with line breaks in it, must fit into one block.
                block_size=max(1 << 20, min(len(text) * 4, 1 << 30)),
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=options,
        )
    except pyarrow.ArrowInvalid as problem:
        raise _ragged(path, text, separator, len(names), blank, problem) from problem
    if not table.num_rows:
        raise DataError(f"{path} has a header of {len(names)} columns but no rows.")
    return as_frame(table, source=str(path))


def _check_separator(path: Path, names: list[str], separator: str) -> None:
    if len(names) > 1:
        return
    for other, spelled in ((";", ";"), ("\t", "\\t"), ("|", "|"), (",", ",")):
        if other != separator and other in names[0]:
            raise DataError(
                f"{path} has one column only, and its name contains '{spelled}': the cells are "
                f"separated by that character. Use `--set data.separator='{spelled}'`."
            )


def _ragged(
    path: Path, text: str, separator: str, width: int, blank: int, problem: Exception
) -> DataError:
    """The sentence for a file that does not parse, with the line where it goes wrong."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=separator)
        start = 1
        for row in reader:
            if row and len(row) != width:
                return DataError(
                    f"{path}, line {start + blank}: the row has {len(row)} cells, the header has "
                    f"{width}. Correct the line (a quote that is not closed, or an unquoted "
                    "separator in a text, often causes this)."
                )
            start = reader.line_num + 1
    except csv.Error as broken:
        problem = broken
    finally:
        csv.field_size_limit(limit)
    reason = str(problem).splitlines()[0].rstrip(".")
    return DataError(f"{path} is not a table of separated cells: {reason}.")


def _read_parquet(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as problem:
        if not path.stat().st_size:
            raise DataError(f"{path} is empty.") from problem
        reason = str(problem).splitlines()[0].rstrip(".")
        raise DataError(f"{path} is not a Parquet file: {reason}.") from problem
    except OSError as problem:
        raise FileProblem(f"{path} cannot be read as Parquet: {problem}.") from problem
    if not table.num_rows:
        raise DataError(f"{path} has {table.num_columns} columns but no rows.")
    return table


def _require_distinct(source: str, names: list[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(name) for name in repeated[:5])
        raise DataError(
            f"{source} has duplicate column names: {shown}. Rename or remove one of each."
        )
