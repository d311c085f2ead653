"""From JSON values back to frozen dataclasses, by their annotations."""

import types
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any


def decode(kind: Any, value: Any) -> Any:
    """The inverse of `dataclasses.asdict` followed by JSON.

    Knows dataclasses, tuples, optional fields, and leaves everything else as it is. Fields that
    the document lacks get their defaults, so that a newer class reads an older document.

    Args:
        kind: A dataclass, or the annotation of a field.
        value: JSON values.

    Raises:
        TypeError: If a dataclass gets something else than its own fields.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Point:
        ...     x: float
        ...     path: tuple[tuple[int, int], ...] = ()
        >>> decode(tuple[Point, ...], [{"x": 1.5}, {"x": 2.0, "path": [[3, 4]]}])
        (Point(x=1.5, path=()), Point(x=2.0, path=((3, 4),)))
    """
    if value is None:
        return None
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise TypeError(f"{kind.__name__} is no {type(value).__name__}")
        hints = _hints(kind)
        return kind(**{key: decode(hints.get(key), item) for key, item in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (option for option in arguments if option is not types.NoneType)
        return decode(inner, value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"a list was expected, not {type(value).__name__}")
        if len(arguments) == 2 and arguments[1] is ...:
            return tuple(decode(arguments[0], item) for item in value)
        return tuple(decode(each, item) for each, item in zip(arguments, value, strict=True))
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
