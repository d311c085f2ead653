"""What every column of a table is: inferred, with the reason in words, and overridable."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from polytask._checks import one_of, unknown
from polytask.errors import DataError

from .parse import (
    boolean_words,
    find_date_format,
    has_leading_zeros,
    read_booleans,
    read_datetimes,
    read_levels,
    read_numbers,
    storage,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series


class ColumnKind(StrEnum):
    """What a column holds; decides how it enters the model."""

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    DATETIME = "datetime"
    IDENTIFIER = "identifier"
    CONSTANT = "constant"
    IGNORE = "ignore"


UNUSED = frozenset({ColumnKind.IDENTIFIER, ColumnKind.CONSTANT, ColumnKind.IGNORE})
"""Kinds that never become inputs."""

UNIQUE_SHARE = 0.95
"""A text column with a larger share of different values names its rows."""
FEW = 10
"""Below this many values, "all different" says nothing."""

_NAMES_ROWS = re.compile(
    r"(^|[^a-z])(id|ids|idx|index|key|uuid|guid|rowid|row|nr|number|unnamed)($|[^a-z])"
)


@dataclass(frozen=True)
class ColumnSchema:
    """One column as it is understood.

    Args:
        name: Its name.
        kind: What it holds.
        reason: Why that kind, one sentence.
        missing: Cells without a value.
        unique: Distinct values.
        date_format: How the texts of a datetime column are read.
    """

    name: str
    kind: ColumnKind
    reason: str
    missing: int
    unique: int
    date_format: str = "ISO8601"

    @property
    def used(self) -> bool:
        """Whether the column can be an input."""
        return self.kind not in UNUSED

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"kind": str(self.kind)}


def column_from_json(document: Mapping[str, Any]) -> ColumnSchema:
    """The inverse of `ColumnSchema.to_json`."""
    return ColumnSchema(
        name=document["name"],
        kind=ColumnKind(document["kind"]),
        reason=document["reason"],
        missing=document["missing"],
        unique=document["unique"],
        date_format=document["date_format"],
    )


@dataclass(frozen=True)
class TableSchema:
    """All columns, in the table's order."""

    columns: tuple[ColumnSchema, ...]

    def __getitem__(self, name: str) -> ColumnSchema:
        """The column called `name`.

        Raises:
            DataError: If there is none; names the nearest one.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise unknown("column", name, [column.name for column in self.columns], DataError)

    def select(self, names: Sequence[str]) -> tuple[ColumnSchema, ...]:
        """The columns called so, in the given order."""
        return tuple(self[name] for name in names)

    def inputs(self, names: Sequence[str]) -> tuple[ColumnSchema, ...]:
        """Those of the named columns that can be inputs: no identifier, constant or ignored one."""
        return tuple(column for column in self.select(names) if column.used)

    def to_json(self) -> list[dict[str, Any]]:
        """JSON values."""
        return [column.to_json() for column in self.columns]


def schema_from_json(document: Sequence[Mapping[str, Any]]) -> TableSchema:
    """The inverse of `TableSchema.to_json`."""
    return TableSchema(tuple(column_from_json(column) for column in document))


def infer_schema(frame: DataFrame, overrides: Mapping[str, str] | None = None) -> TableSchema:
    """The kind of every column, with its reason.

    A text column whose values are all numbers, "NA" and "?" apart, is numeric. A column is taken
    for an identifier only if its values name rows: texts that are almost all different, or
    consecutive whole numbers, or whole numbers that are all different under a name such as "id".

    Args:
        frame: The table; all rows, because kinds use no label.
        overrides: Column → kind, as in ``data.kinds`` of the run file.

    Raises:
        DataError: If an overridden column does not exist, its values contradict the kind, or a
            column holds something that is no value (lists, say).
        UnknownName: If there is no such kind.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame({"age": ["31", "?"], "city": ["Ulm", "Bonn"]})
        >>> [str(column.kind) for column in infer_schema(frame).columns]
        ['numeric', 'category']
        >>> infer_schema(frame, {"age": "category"})["age"].reason
        'set by you'
    """
    overrides = dict(overrides or {})
    for name, kind in overrides.items():
        if name not in frame.columns:
            raise unknown("data.kinds", name, list(frame.columns), DataError)
        one_of(f"data.kinds.{name}", kind, [str(kind) for kind in ColumnKind])
    return TableSchema(
        tuple(
            _overridden(frame[name], ColumnKind(overrides[name]))
            if name in overrides
            else _inferred(frame[name])
            for name in frame.columns
        )
    )


def _inferred(column: Series) -> ColumnSchema:
    name, kind = str(column.name), storage(column)
    _require_values(column)
    codes, levels = read_levels(column)
    known = codes >= 0
    schema = ColumnSchema(
        name, ColumnKind.CONSTANT, "no cell has a value", int((~known).sum()), len(levels)
    )
    if not levels:
        return schema
    if len(levels) == 1 and known.all():
        return replace(schema, reason=f"every row has the value {_short(levels[0])}")
    schema = _by_storage(column, schema, kind, levels)
    if schema.kind is ColumnKind.CATEGORY and not _declared(column):
        count = int(known.sum())
        if count >= FEW and len(levels) > UNIQUE_SHARE * count:
            return replace(
                schema,
                kind=ColumnKind.IDENTIFIER,
                reason=f"{len(levels)} different texts in {count} rows name the rows"
                + ("" if schema.reason == _TEXT else f"; {schema.reason}"),
            )
    return schema


_TEXT = "texts"


def _by_storage(
    column: Series, schema: ColumnSchema, kind: str, levels: Sequence[str]
) -> ColumnSchema:
    if _declared(column):
        return replace(schema, kind=ColumnKind.CATEGORY, reason="declared as categorical")
    if kind == "boolean":
        return replace(schema, kind=ColumnKind.BOOLEAN, reason="truth values")
    if kind == "datetime":
        return replace(schema, kind=ColumnKind.DATETIME, reason="dates")
    if kind in ("number", "duration"):
        return _number(schema, read_numbers(column)[0], "numbers")
    if has_leading_zeros(column):
        return replace(
            schema, kind=ColumnKind.CATEGORY, reason="codes with leading zeros, no quantities"
        )
    values, strangers = read_numbers(column)
    if not strangers.any() and not np.isnan(values).all():
        gaps = int(np.isnan(values).sum())
        words = gaps - schema.missing
        schema = replace(schema, missing=gaps, unique=len(np.unique(values[~np.isnan(values)])))
        if schema.unique == 1 and not gaps:
            return replace(schema, reason=f"every row has the value {_short(levels[0])}")
        reason = f'all texts are numbers; {words} such as "NA" or "?" are missing' if words else ""
        return _number(schema, values, reason or "all texts are numbers")
    pair = boolean_words(column)
    if pair:
        return replace(
            schema, kind=ColumnKind.BOOLEAN, reason=f"the two words {pair[0]!r} and {pair[1]!r}"
        )
    date_format, warning = find_date_format(column)
    if date_format:
        gaps = int(np.isnan(read_datetimes(column, date_format)[0]).sum())
        return replace(
            schema,
            kind=ColumnKind.DATETIME,
            reason="all texts are dates",
            missing=gaps,
            date_format=date_format,
        )
    commas = [level for level in levels[:200] if re.fullmatch(r"-?\d+,\d+", level)]
    if len(commas) > 0.5 * min(len(levels), 200):
        warning = "texts such as " + _short(commas[0]) + " look like numbers with a decimal comma"
    return replace(schema, kind=ColumnKind.CATEGORY, reason=warning or _TEXT)


def _number(schema: ColumnSchema, values: NDArray[np.float64], reason: str) -> ColumnSchema:
    known = values[~np.isnan(values)]
    schema = replace(schema, kind=ColumnKind.NUMERIC, reason=reason)
    whole = bool(np.isfinite(known).all()) and bool((known == np.round(known)).all())
    if not whole or len(known) < FEW or len(known) < len(values) or schema.unique < len(known):
        return schema
    steps = np.diff(known)
    span = known.max() - known.min() + 1
    if (steps == 1).all() or (steps == -1).all() or (span == len(known) and known.min() in (0, 1)):
        return replace(
            schema,
            kind=ColumnKind.IDENTIFIER,
            reason=f"the whole numbers from {known.min():.0f} to {known.max():.0f} count the rows",
        )
    if _names_rows(schema.name):
        return replace(
            schema,
            kind=ColumnKind.IDENTIFIER,
            reason=f"whole numbers, all {len(known)} different, under a name that names rows",
        )
    return schema


def _overridden(column: Series, kind: ColumnKind) -> ColumnSchema:
    name = str(column.name)
    codes, levels = read_levels(column) if kind is not ColumnKind.IGNORE else (np.zeros(0), [])
    schema = ColumnSchema(name, kind, "set by you", int((codes < 0).sum()), len(levels))
    if kind is ColumnKind.NUMERIC:
        values, strangers = read_numbers(column)
        schema = replace(schema, missing=int(np.isnan(values).sum()))
        _contradiction(column, kind, strangers)
    elif kind is ColumnKind.BOOLEAN:
        values, strangers = read_booleans(column)
        schema = replace(schema, missing=int(np.isnan(values).sum()))
        _contradiction(column, kind, strangers)
    elif kind is ColumnKind.DATETIME:
        date_format = find_date_format(column)[0] if storage(column) == "text" else None
        schema = replace(schema, date_format=date_format or "ISO8601")
        _contradiction(column, kind, read_datetimes(column, schema.date_format)[1])
    return schema


def _contradiction(column: Series, kind: ColumnKind, strangers: NDArray[np.bool_]) -> None:
    if strangers.any():
        example = column[strangers].iloc[0]
        raise DataError(
            f"Column {column.name!r} cannot be {kind}, as `data.kinds` says: "
            f"{int(strangers.sum())} of its cells are not, for example {_short(str(example))}."
        )


def _require_values(column: Series) -> None:
    if column.dtype != object:
        return
    for cell in column.tolist():
        if isinstance(cell, list | tuple | dict | set | np.ndarray):
            raise DataError(
                f"Column {column.name!r} holds cells of type {type(cell).__name__}; a cell must "
                f"be one value. Leave the column out with `--ignore {column.name}`."
            )


def _declared(column: Series) -> bool:
    import pandas

    return isinstance(column.dtype, pandas.CategoricalDtype)


def _names_rows(name: str) -> bool:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return bool(_NAMES_ROWS.search(spaced))


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
