"""Which kind of target a column is, in words; ``NAME:KIND``; a specification from plain options."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from numpy.typing import NDArray

from polytask._checks import unknown
from polytask.errors import DataError, InvalidArgument, UnknownName

from .base import TaskSpec
from .catalogue import SPECS
from .classes import Label, read_labels
from .values import is_number, require_labels


def infer_kind(
    values: NDArray[Any], *, name: str = "target", category: bool = False
) -> tuple[str, str]:
    """The kind of a target column, and the reason in one sentence that says how to override it.

    Two distinct values are binary; texts, booleans and categories otherwise multiclass; numbers
    with three or more values are regression, also if they are integers: grades and counts are
    ordered, and treating them as classes is a decision for the user.

    Args:
        values: ``[rows]`` raw cells; missing ones as None or NaN.
        name: Name of the target, for the sentence.
        category: The table declares the column as categorical, whatever its values are.

    Raises:
        DataError: If no label or only one distinct value is left.

    Example:
        >>> import numpy as np
        >>> infer_kind(np.array([3.0, 5.0, 9.0]), name="quality")[0]
        'regression'
    """
    codes, labels = read_labels(name, values)
    require_labels(name, codes >= 0)
    if len(labels) == 1:
        raise DataError(
            f"Target {name!r} has only one value, {labels[0]!r}; there is nothing to learn. "
            "Leave it out, or add rows with another value."
        )
    if len(labels) == 2:
        shown = " and ".join(sorted(repr(label) for label in labels))
        return "binary", f"{name!r} has two distinct values, {shown}: binary."
    if category or not _numeric(labels):
        what = "declared as categorical" if category else "not numbers"
        return "multiclass", (
            f"{name!r} has {len(labels)} distinct values that are {what}: multiclass."
        )
    if all(isinstance(label, int) and label >= 0 for label in labels):
        return "regression", (
            f"{name!r} has {len(labels)} distinct whole numbers: regression. Type '{name}:count' "
            f"if they count events, '{name}:multiclass' if they are codes of classes."
        )
    return "regression", f"{name!r} has {len(labels)} distinct numbers: regression."


def parse_target(text: str) -> tuple[str, str | None]:
    r"""``NAME[:KIND]`` → (name, kind or None).

    A colon that belongs to the name is written ``\:``, or the name is put in double quotes.

    Raises:
        InvalidArgument: If the name is empty or a quote is not closed.
        UnknownName: If there is no such kind; the error names the nearest one.

    Example:
        >>> parse_target("age:count"), parse_target("age")
        (('age', 'count'), ('age', None))
        >>> parse_target('"a:b":binary'), parse_target(r"a\:b")
        (('a:b', 'binary'), ('a:b', None))
    """
    name, rest = _quoted(text) if text.startswith('"') else _plain(text)
    if not name:
        raise InvalidArgument(f"`target` must have the form NAME or NAME:KIND; got {text!r}.")
    if not rest:
        return name, None
    kind = rest[1:]
    if kind not in SPECS and kind != "auto":
        problem = unknown("kind", kind, [*SPECS, "auto"])
        raise UnknownName(
            rf"Target {name!r}: {problem} A colon that belongs to the name is written \:."
        )
    return name, None if kind == "auto" else kind


def build_spec(
    kind: str,
    name: str,
    *,
    columns: Sequence[str] = (),
    weight: float = 1.0,
    loss: str = "squared",
    delta: float = 1.0,
    center: float | None = None,
    scale: float | None = None,
    class_weight: str = "none",
    label_smoothing: float = 0.0,
    confidence_penalty: float = 0.0,
    positive: str | None = None,
    classes: Sequence[Label] | None = None,
) -> TaskSpec:
    """The specification of one of the built-in kinds from plain options.

    Raises:
        UnknownName: If there is no such kind.
        InvalidArgument: If an option has a value but does not apply to the kind.

    Example:
        >>> build_spec("regression", "age", loss="huber").loss
        'huber'
    """
    if kind not in SPECS:
        raise unknown(f"kind of target {name!r}", kind, list(SPECS))
    options: dict[str, tuple[Any, Any]] = {  # option: (value, default)
        "columns": (tuple(columns), ()),
        "weight": (weight, 1.0),
        "loss": (loss, "squared"),
        "delta": (delta, 1.0),
        "center": (center, None),
        "scale": (scale, None),
        "class_weight": (class_weight, "none"),
        "label_smoothing": (label_smoothing, 0.0),
        "confidence_penalty": (confidence_penalty, 0.0),
        "positive": (positive, None),
        "classes": (None if classes is None else tuple(classes), None),
    }
    known = _options(SPECS[kind])
    given = {option: value for option, (value, default) in options.items() if value != default}
    for option in given.keys() - known:
        kinds = [other for other, spec in SPECS.items() if option in _options(spec)]
        raise InvalidArgument(
            f"Target {name!r} is a {kind} target, to which `{option}` does not apply "
            f"(it belongs to {', '.join(kinds)}). Remove the option, or change the kind."
        )
    return SPECS[kind](name, **given)


def _options(spec: type[TaskSpec]) -> set[str]:
    return {field.name for field in fields(spec)}


def _numeric(labels: Sequence[Label]) -> bool:
    return all(is_number(label) and not isinstance(label, bool) for label in labels)


def _quoted(text: str) -> tuple[str, str]:
    """``"name"rest`` → (name, rest); inside the quotes a backslash protects the next character."""
    name, position = "", 1
    while position < len(text) and text[position] != '"':
        position += text[position] == "\\" and position + 1 < len(text)
        name += text[position]
        position += 1
    rest = text[position + 1 :]
    if position >= len(text) or (rest and not rest.startswith(":")):
        raise InvalidArgument(
            f'`target` must have the form "NAME" or "NAME":KIND when it starts with a quote; '
            f"got {text!r}."
        )
    return name, rest


def _plain(text: str) -> tuple[str, str]:
    r"""``name:rest`` → (name, ":rest"), where ``\:`` is a colon of the name."""
    name, colon, kind = text.replace("\\:", _COLON).rpartition(":")
    if not colon:
        return text.replace("\\:", ":"), ""
    return name.replace(_COLON, ":"), f":{kind}"


_COLON = "\0"  # stands for an escaped colon; no argument of a command can hold it
