"""Raw columns as numbers, truth values, dates or levels, whatever the storage; gaps stay gaps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray
    from pandas import Series

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

MISSING_WORDS = frozenset(
    {"na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", ".", "<na>"}
)
"""Texts that mean "no value" in a column of numbers, dates or truth values; a text column keeps
them as categories."""

TRUE_WORDS = frozenset({"true", "yes", "t", "y"})
FALSE_WORDS = frozenset({"false", "no", "f", "n"})
BOOLEAN_PAIRS = tuple(
    frozenset(pair) for pair in (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"))
)

DATE_FORMATS = ("ISO8601", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S")
_ISO = re.compile(r"\d{4}-\d{2}(-\d{2})?([T ].*)?")
_OTHER_DATE = re.compile(r"(\d{4}/\d{1,2}/\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{4})( \d{1,2}:\d{2}.*)?")
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"


def storage(column: Series) -> str:
    """How a column is stored: ``number``, ``boolean``, ``datetime``, ``duration``, ``text``.

    A column of Python objects is what all its values are; mixed ones and everything that cannot
    be recognised are text.
    """
    from pandas.api import types

    kind = column.dtype
    if types.is_bool_dtype(kind) and not isinstance(kind, _categorical()):
        return "boolean"
    if types.is_numeric_dtype(kind) and not types.is_complex_dtype(kind):
        return "number"
    if types.is_datetime64_any_dtype(kind):
        return "datetime"
    if types.is_timedelta64_dtype(kind):
        return "duration"
    if isinstance(kind, _categorical()) or types.is_object_dtype(kind):
        return _OBJECT_STORAGE.get(types.infer_dtype(_plain(column), skipna=True), "text")
    return "text"


_OBJECT_STORAGE = {
    "integer": "number",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
    "boolean": "boolean",
    "date": "datetime",
    "datetime": "datetime",
    "datetime64": "datetime",
    "timedelta": "duration",
    "timedelta64": "duration",
}


def missing_cells(column: Series) -> Flags:
    """True where a cell is empty: None, NaN, NaT, NA, or a text of nothing but white space."""
    if storage(column) == "text":
        return np.asarray(texts(column).is_null(), dtype=bool)
    return column.isna().to_numpy(dtype=bool)


def texts(column: Series) -> pyarrow.Array:
    """Cells as trimmed texts; empty ones are null."""
    import pyarrow
    from pyarrow import compute

    plain = _plain(column)
    if plain.dtype == object:
        gaps = plain.isna().to_numpy(dtype=bool)
        cells = [None if gap else str(cell) for cell, gap in zip(plain.tolist(), gaps, strict=True)]
        array = pyarrow.array(cells, type=pyarrow.large_string())
    else:
        array = pyarrow.array(plain, type=pyarrow.large_string(), from_pandas=True)
        if isinstance(array, pyarrow.ChunkedArray):
            array = array.combine_chunks()
    trimmed = compute.utf8_trim_whitespace(array)
    return compute.if_else(compute.equal(trimmed, ""), None, trimmed)


def read_numbers(column: Series) -> tuple[Floats, Flags]:
    """Numbers with NaN for gaps, and where a cell is something else (NaN there too).

    "NA", "?" and their like count as gaps. Truth values are 1 and 0; durations are seconds.

    Example:
        >>> import pandas
        >>> values, strangers = read_numbers(pandas.Series(["1.5", "?", "", "x"]))
        >>> values.tolist(), strangers.tolist()
        ([1.5, nan, nan, nan], [False, False, False, True])
    """
    import pyarrow
    from pyarrow import compute

    kind, none = storage(column), np.zeros(len(column), dtype=bool)
    if kind in ("number", "boolean"):
        plain = _plain(column)
        if plain.dtype == object:
            gaps = plain.isna().to_numpy(dtype=bool)
            values = np.full(len(plain), np.nan)
            values[~gaps] = [float(cell) for cell in plain[~gaps].tolist()]
            return values, none
        return plain.to_numpy(dtype=np.float64, na_value=np.nan), none
    if kind == "duration":
        return _as_timedelta(column), none
    if kind == "datetime":
        return np.full(len(column), np.nan), ~column.isna().to_numpy(dtype=bool)
    cells = _without_missing_words(texts(column))
    cells = compute.replace_substring_regex(cells, r"^\+", "")
    strangers = none
    try:
        numbers = compute.cast(cells, pyarrow.float64())
    except pyarrow.ArrowInvalid:
        matches = compute.match_substring_regex(cells, _NUMBER)
        strangers = np.asarray(compute.invert(matches).fill_null(False), dtype=bool)
        numbers = compute.cast(compute.if_else(matches, cells, None), pyarrow.float64())
    return numbers.to_numpy(zero_copy_only=False).astype(np.float64), strangers


def read_booleans(column: Series) -> tuple[Floats, Flags]:
    """1, 0 and NaN for gaps, and where a cell is neither a truth value nor 0 or 1."""
    values, strangers = read_numbers(column)
    if strangers.any():
        from pyarrow import compute

        words = compute.utf8_lower(texts(column)).to_numpy(zero_copy_only=False)
        values = np.where([word in TRUE_WORDS for word in words], 1.0, values)
        values = np.where([word in FALSE_WORDS for word in words], 0.0, values)
    known = np.isnan(values) | (values == 0) | (values == 1)
    return np.where(known, values, np.nan), (strangers & np.isnan(values)) | ~known


def boolean_words(column: Series) -> tuple[str, str] | None:
    """The pair of words of a text column that holds truth values, as (true, false), else None."""
    _, levels = read_levels(column)
    found = frozenset(level.lower() for level in levels)
    for pair in BOOLEAN_PAIRS:
        if found == pair:
            return next(iter(pair & TRUE_WORDS)), next(iter(pair & FALSE_WORDS))
    return None


def find_date_format(column: Series) -> tuple[str | None, str]:
    """(format that reads every date of a text column, or None; a word of warning, or "").

    Day and month are never guessed: if every date of a column could be read either way, there is
    no format.

    Example:
        >>> import pandas
        >>> find_date_format(pandas.Series(["31/12/2024", "01/02/2024"]))
        ('%d/%m/%Y', '')
        >>> find_date_format(pandas.Series(["03/04/2024", "01/02/2024"]))[0] is None
        True
    """
    cells = _without_missing_words(texts(column)).drop_null()
    sample = cells.slice(0, 50).to_pylist()
    if not sample:
        return None, ""
    if all(_ISO.fullmatch(text) for text in sample):
        return ("ISO8601", "") if _parses(column, "ISO8601") else (None, "")
    if not all(_OTHER_DATE.fullmatch(text) for text in sample):
        return None, ""
    found = [
        date + clock
        for date in DATE_FORMATS[1:]
        for clock in _CLOCKS
        if _parses(column, date + clock)
    ]
    if len(found) > 1:
        return None, "day and month cannot be told apart; write dates as YYYY-MM-DD"
    return (found[0], "") if found else (None, "")


def read_datetimes(column: Series, date_format: str = "ISO8601") -> tuple[Floats, Flags]:
    """Seconds since 1970 (UTC) with NaN for gaps, and where a cell is no date."""
    import pandas

    gaps = missing_cells(column)
    if storage(column) == "datetime":
        stamps = pandas.to_datetime(column, utc=True, errors="coerce")
    elif storage(column) == "text":
        cells = _without_missing_words(texts(column))
        gaps = np.asarray(cells.is_null(), dtype=bool)
        stamps = pandas.to_datetime(
            pandas.Series(cells.to_pylist(), dtype="str"),
            utc=True,
            errors="coerce",
            format=date_format,
        )
    else:
        return np.full(len(column), np.nan), ~gaps
    known = stamps.notna().to_numpy(dtype=bool)
    seconds = np.full(len(column), np.nan)
    naive = stamps.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    seconds[known] = naive[known].astype(np.int64) / 1e6
    return seconds, ~gaps & ~known


def read_levels(column: Series) -> tuple[NDArray[np.int64], list[str]]:
    """(position of each cell's level in the list, -1 where empty; distinct levels as texts).

    The text of a level does not depend on the storage: 3, 3.0 and "3" are one level, so are True
    and "true". "NA" and "?" are levels like any other.

    Example:
        >>> import pandas
        >>> read_levels(pandas.Series([3.0, None, 4.5]))[1], read_levels(pandas.Series(["3"]))[1]
        (['3', '4.5'], ['3'])
    """
    import pandas

    kind = storage(column)
    if kind == "text":
        encoded = texts(column).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        levels = [_canonical(text) for text in encoded.dictionary.to_pylist()]
    else:
        plain = _plain(column)
        if kind == "boolean":
            plain = plain.astype(object)
        codes, distinct = pandas.factorize(plain)
        levels = [_canonical(_written(value)) for value in distinct.tolist()]
        if plain.dtype == np.float32:
            levels = [_canonical(str(np.float32(value))) for value in distinct]
    positions = {level: position for position, level in enumerate(dict.fromkeys(levels))}
    merge = np.array([*(positions[level] for level in levels), -1], dtype=np.int64)
    return merge[codes], list(positions)


def label_values(column: Series) -> NDArray[Any]:
    """A target column as a task reads it: gaps are None or NaN, the rest keeps its meaning.

    A column of numbers, also of texts that are all numbers, becomes float64 (then "NA" and "?" are
    gaps); "true" and "false" become booleans; everything else stays text, trimmed.

    Example:
        >>> import pandas
        >>> label_values(pandas.Series(["1", "NA", "0"])).tolist()
        [1.0, nan, 0.0]
        >>> label_values(pandas.Series(["low", "", "high"])).tolist()
        ['low', None, 'high']
    """
    kind = storage(column)
    if kind in ("number", "duration"):
        return read_numbers(column)[0]
    if kind == "text":
        if not has_leading_zeros(column):
            values, strangers = read_numbers(column)
            if not strangers.any():
                return values
        if boolean_words(column) == ("true", "false"):
            truth, _ = read_booleans(column)
            return _truth(truth)
        return np.asarray(texts(column).to_numpy(zero_copy_only=False), dtype=object)
    if kind == "boolean":
        return _truth(read_numbers(column)[0])
    cells = _plain(column).astype(object)
    return np.asarray(cells.where(cells.notna(), None), dtype=object)


def has_leading_zeros(column: Series) -> bool:
    """Whether a text column holds codes such as "007", which are no quantities."""
    from pyarrow import compute

    if storage(column) != "text":
        return False
    return bool(compute.any(compute.match_substring_regex(texts(column), r"^-?0\d+$")).as_py())


def _truth(values: Floats) -> NDArray[Any]:
    cells: NDArray[Any] = np.full(len(values), None, dtype=object)
    cells[values == 1] = True
    cells[values == 0] = False
    return cells


def _parses(column: Series, date_format: str) -> bool:
    return not read_datetimes(column, date_format)[1].any()


def _without_missing_words(cells: pyarrow.Array) -> pyarrow.Array:
    import pyarrow
    from pyarrow import compute

    words = pyarrow.array(sorted(MISSING_WORDS), type=cells.type)
    return compute.if_else(compute.is_in(compute.utf8_lower(cells), words), None, cells)


def _as_timedelta(column: Series) -> Floats:
    import pandas

    seconds = pandas.to_timedelta(_plain(column)).dt.total_seconds()
    return np.asarray(seconds.to_numpy(), dtype=np.float64)


def _categorical() -> type[Any]:
    import pandas

    return pandas.CategoricalDtype


def _plain(column: Series) -> Series:
    """A categorical column by its values; any other as it is."""
    if isinstance(column.dtype, _categorical()):
        import pandas

        return pandas.Series(np.asarray(column, dtype=object), index=column.index, dtype=object)
    return column


def _written(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return repr(float(value)) if isinstance(value, float) else str(value)


def _canonical(text: str) -> str:
    whole = _WHOLE.fullmatch(text)
    if whole:
        return "0" if whole[1] == "-0" else whole[1]
    lowered = text.lower()
    return lowered if lowered in ("true", "false") else text
