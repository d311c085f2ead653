"""TOML in by the standard library, TOML out by a small writer of our own."""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polytask.errors import FileProblem, InvalidArgument

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_LINE = 96
"""Longer lists are written with one entry per line."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        FileProblem: If the file cannot be read or is not UTF-8.
        InvalidArgument: If it is not TOML; the sentence names line and column.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileProblem(f"`{path}` cannot be read: {reason}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise FileProblem(
            f"`{path}` is not UTF-8 text (byte {error.start}). Save it again as UTF-8."
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"`{path}` is not valid TOML: {error}.") from error


def to_toml(document: Mapping[str, Any]) -> str:
    r"""A document of tables, lists and plain values as TOML text.

    TOML has no null: an entry that is None is left out. Reading the text back gives the same
    document, for every text, finite or infinite number, and any depth of nesting.

    Args:
        document: Values are str, bool, int, float, lists of values, or mappings of values.

    Raises:
        InvalidArgument: If a value is none of these.

    Example:
        >>> document = {"seed": 1, "model": {"width": 64}, "targets": [{"name": "sex"}]}
        >>> print(to_toml(document), end="")
        seed = 1
        <BLANKLINE>
        [model]
        width = 64
        <BLANKLINE>
        [[targets]]
        name = "sex"
    """
    return "\n".join(_table(document, ())).lstrip("\n") + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """The lines of a table: its plain values first, because a header closes the one before."""
    present = {key: value for key, value in table.items() if value is not None}
    nested = {key: value for key, value in present.items() if _is_nested(value)}
    lines = [f"{_key(k)} = {_entry(v, k)}" for k, v in present.items() if k not in nested]
    for key, value in nested.items():
        header = ".".join(_key(part) for part in (*path, key))
        if isinstance(value, Mapping):
            lines += ["", f"[{header}]", *_table(value, (*path, key))]
        else:
            for item in value:
                lines += ["", f"[[{header}]]", *_table(item, (*path, key))]
    return lines


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(item, Mapping) for item in value)
    )


def _entry(value: object, key: str) -> str:
    """A value after ``key =``; long lists in several lines."""
    text = _value(value)
    if isinstance(value, list | tuple) and len(key) + 3 + len(text) > _LINE:
        return "[\n" + "".join(f"  {_value(item)},\n" for item in value) + "]"
    return text


def _value(value: object) -> str:
    """A value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        pairs = [f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise InvalidArgument(
        f"`{value!r}` must be text, a number, true, false, a list or a table to be written as TOML."
    )


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    return '"' + "".join(_character(c) for c in text) + '"'


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        return f"\\u{code:04X}"
    if 0xD800 <= code <= 0xDFFF:
        raise InvalidArgument(
            f"`{character!r}` must be a valid character to be written as TOML; it is half of a "
            "pair, so the text was read with the wrong encoding."
        )
    return character
