"""From an untyped document to a `RunConfig`, with one sentence for every mistake."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from polytask._checks import nearest, sentence
from polytask.errors import InvalidArgument, PolytaskError, UnknownName

from .checks import check_run
from .run import RunConfig
from .toml import read_toml

Path_ = tuple[str | int, ...]
"""The place of a value in a document: keys of tables and positions in lists."""

Sources = Sequence[tuple[Path_, str]]
"""Who set what: (place, ``"--set model.width=64"``); the last fitting one is named."""

_RULES = {
    "missing": "be given",
    "int_type": "be a whole number",
    "int_parsing": "be a whole number",
    "int_parsing_size": "be a whole number of ordinary size",
    "int_from_float": "be a whole number",
    "float_type": "be a number",
    "float_parsing": "be a number",
    "bool_type": "be true or false",
    "bool_parsing": "be true or false",
    "string_type": "be text",
    "finite_number": "be finite",
    "tuple_type": "be a list",
    "list_type": "be a list",
    "dict_type": "be a table",
    "model_type": "be a table",
    "model_attributes_type": "be a table",
}
_BOUNDS = {
    "greater_than": ("gt", "be above"),
    "greater_than_equal": ("ge", "be at least"),
    "less_than": ("lt", "be below"),
    "less_than_equal": ("le", "be at most"),
    "too_short": ("min_length", "have a length of at least"),
    "too_long": ("max_length", "have a length of at most"),
}


def run_from_document(
    document: Mapping[str, Any],
    *,
    source: str = "run",
    sources: Sources = (),
    valid_file: bool = False,
) -> RunConfig:
    """The typed run that a document describes.

    Types are strict: ``epochs = "10"`` is text, not a number.

    Args:
        document: Nested tables, as `read_toml` returns them.
        source: What the document comes from, for sentences.
        sources: Places that come from elsewhere, such as command-line options.
        valid_file: Validation rows come in a file of their own.

    Raises:
        UnknownName: For an option that does not exist; the nearest valid one is named.
        InvalidArgument: For a value of the wrong type or outside its range, or options that
            contradict each other.

    Example:
        >>> run_from_document({"targets": [{"name": "sex"}], "seed": 3}).seed
        3
    """
    try:
        text = json.dumps(document, default=str)
        run = RunConfig.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _translate(error, document, source, sources) from error
    check_run(run, explicit=True, valid_file=valid_file)
    return run


def load_run(path: Path | str) -> RunConfig:
    """Reads a run file.

    Raises:
        FileProblem: If it cannot be read.
        PolytaskError: If it is not TOML, or for a mistake in it, as `run_from_document`.
    """
    return run_from_document(read_toml(Path(path)), source=str(path))


def valid_keys(place: Path_) -> list[str] | None:
    """The options of a table of the run file; None if any key is allowed there, or no table is.

    Example:
        >>> valid_keys(("schedule",))
        ['name', 'warmup', 'factor', 'patience']
    """
    found = _annotation(place)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return list(found.model_fields)
    return None


def expects_text(place: Path_) -> bool:
    """Whether an option takes text, so that ``--set data.weight=2020`` needs no quotes.

    Example:
        >>> expects_text(("data", "weight")), expects_text(("model", "width"))
        (True, False)
    """
    found = _annotation(place)
    if get_origin(found) in (dict, list, tuple):
        return False  # text is inside, as a key or an entry
    return found is str or str in get_args(found)


def dotted(place: Path_) -> str:
    """A place as it is typed after ``--set``.

    Example:
        >>> dotted(("targets", 0, "kind")), dotted(("balance", "weights", "a.b"))
        ('targets.0.kind', 'balance.weights."a.b"')
    """
    return ".".join(f'"{part}"' if "." in str(part) else str(part) for part in place)


def _annotation(place: Path_) -> Any:
    """The annotated type at a place, None if there is no such place."""
    found: Any = RunConfig
    for part in place:
        if isinstance(found, type) and issubclass(found, BaseModel):
            field = found.model_fields.get(str(part))
            found = field.annotation if field is not None else None
        elif get_origin(found) in (tuple, list) and isinstance(part, int):
            arguments = get_args(found)
            found = arguments[0] if ... in arguments or len(arguments) == 1 else arguments[part]
        elif get_origin(found) is dict:
            found = get_args(found)[1]
        else:
            return None
    return found


def _translate(
    error: ValidationError, document: Mapping[str, Any], source: str, sources: Sources
) -> PolytaskError:
    """The first mistake as one sentence."""
    mistakes = error.errors(include_url=False)
    # A misspelled option explains a missing one, not the other way round.
    first = min(mistakes, key=lambda mistake: mistake["type"] != "extra_forbidden")
    place, kind = first["loc"], first["type"]
    at = _source_of(place, source, sources)
    if kind == "extra_forbidden":
        return _unknown_option(place, at)
    context = first.get("ctx", {})
    advice = ""
    if kind == "missing" and place == ("targets",):
        return InvalidArgument(
            "No target is named. Type --target NAME, or add [[targets]] with a name to a run file."
        )
    if kind == "missing":
        return InvalidArgument(f"{at}: `{dotted(place)}` is missing. Add it.")
    if kind in _RULES:
        rule = _RULES[kind]
        advice = "Put it in quotes." if kind == "string_type" else ""
    elif kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = context.get(key, context.get("actual_length", ""))
        rule = f"{words} {bound:g}" if isinstance(bound, int | float) else f"{words} {bound}"
    elif kind == "literal_error":
        rule = f"be one of {context.get('expected', '')}".replace(" or ", ", ")
        valid = [part.strip().strip("'") for part in rule.removeprefix("be one of ").split(",")]
        guess = nearest(str(first["input"]), valid)
        advice = f"Did you mean {guess!r}?" if guess else ""
    else:
        rule = first["msg"][:1].lower() + first["msg"][1:]
    value = _at(document, place)
    return InvalidArgument(f"{at}: " + sentence(dotted(place), rule, value, advice))


def _unknown_option(place: Path_, at: str) -> UnknownName:
    """An option that does not exist: the same key elsewhere, or the nearest one beside it."""
    table, key = place[:-1], str(place[-1])
    siblings = valid_keys(table) or []
    elsewhere = [
        (section, key)
        for section in RunConfig.model_fields
        if section != "targets" and key in (valid_keys((section,)) or [])
    ]
    if elsewhere:
        hint = f" Did you mean `{dotted(elsewhere[0])}`?"
    elif guess := nearest(key, siblings):
        hint = f" Did you mean `{dotted((*table, guess))}`?"
    else:
        hint = ""
    valid = ", ".join(repr(name) for name in siblings)
    return UnknownName(f"{at}: `{dotted(place)}` does not exist.{hint} Valid here: {valid}.")


def _source_of(place: Path_, source: str, sources: Sources) -> str:
    for where, name in reversed(sources):
        shared = min(len(where), len(place))
        if where[:shared] == place[:shared]:
            return name
    return source


def _at(document: Any, place: Path_) -> object:
    """The value at a place, as the user wrote it."""
    for part in place:
        document = document[part]
    return document
