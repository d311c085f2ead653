"""``--set key=value``: any option of the run file from the command line."""

import copy
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from polytask._checks import unknown
from polytask.errors import InvalidArgument

from .validate import Path_, expects_text


def parse_override(text: str) -> tuple[tuple[str, ...], str]:
    """``key=value`` → (parts of the dotted key, value as typed).

    A part that holds a dot or an equals sign is put in double quotes.

    Raises:
        InvalidArgument: If it has another form.

    Example:
        >>> parse_override('balance.weights."a.b"=2')
        (('balance', 'weights', 'a.b'), '2')
    """
    parts, current, quoted, position = [], "", False, 0
    while position < len(text):
        character = text[position]
        if character == '"':
            quoted = not quoted
        elif character == "." and not quoted:
            parts.append(current)
            current = ""
        elif character == "=" and not quoted:
            break
        else:
            current += character
        position += 1
    parts = [part.strip() for part in [*parts, current]]
    if position == len(text) or not all(parts):
        raise InvalidArgument(
            f"`--set` must have the form key=value, such as model.width=64; got {text!r}."
        )
    return tuple(parts), text[position + 1 :].strip()


def parse_value(text: str) -> Any:
    """A value in TOML's syntax; what is not TOML is taken as text.

    Example:
        >>> [parse_value(text) for text in ("64", "1e-3", "true", "[1, 2]", "sgd", '"64"')]
        [64, 0.001, True, [1, 2], 'sgd', '64']
    """
    if "\n" in text:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def apply_overrides(
    document: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], list[tuple[Path_, str]]]:
    """A copy of `document` with the overrides applied in their order, and who set what.

    A target is addressed by its name or its position: ``targets.sex.kind=binary``,
    ``targets.0.kind=binary``.

    Raises:
        InvalidArgument: If an override has another form, or goes through a plain value.
        UnknownName: If it names a target that is not among the targets.

    Example:
        >>> apply_overrides({"model": {"width": 32}}, ["model.width=64", "seed=1"])[0]
        {'model': {'width': 64}, 'seed': 1}
    """
    result: dict[str, Any] = copy.deepcopy(dict(document))
    sources: list[tuple[Path_, str]] = []
    for override in overrides:
        keys, text = parse_override(override)
        place = _place(keys, result)
        value = parse_value(text)
        if expects_text(place) and not isinstance(value, str):
            value = text
        _put(result, place, value, override)
        sources.append((place, f"--set {override}"))
    return result, sources


def _place(keys: tuple[str, ...], document: Mapping[str, Any]) -> Path_:
    """Dotted keys as a place; the name of a target becomes its position."""
    if keys[0] != "targets" or len(keys) == 1:
        return keys
    targets = document.get("targets", [])
    names = [target.get("name") for target in targets if isinstance(target, Mapping)]
    if keys[1] in names:
        return ("targets", names.index(keys[1]), *keys[2:])
    if keys[1].isdecimal() and int(keys[1]) < len(targets):
        return ("targets", int(keys[1]), *keys[2:])
    raise unknown("--set targets", keys[1], [str(name) for name in names])


def _put(document: dict[str, Any], place: Path_, value: Any, override: str) -> None:
    table: Any = document
    for depth, part in enumerate(place[:-1]):
        if isinstance(table, dict):
            table = table.setdefault(part, {})
        else:
            table = table[part]
        if not isinstance(table, dict | list):
            key = ".".join(str(p) for p in place[: depth + 1])
            raise InvalidArgument(
                f"--set {override}: `{key}` is a single value, {table!r}, and has no options."
            )
    table[place[-1]] = value
