"""One function per argument rule; the form of an error sentence exists once, here."""

import difflib
from collections.abc import Collection, Iterable

from polytask.errors import InvalidArgument, PolytaskError, UnknownName


def sentence(argument: str, rule: str, value: object, advice: str = "") -> str:
    """The one form of an error: `` `argument` must rule; got value. Advice ``.

    Example:
        >>> sentence("dropout", "be at least 0 and below 1", 1.5)
        '`dropout` must be at least 0 and below 1; got 1.5.'
    """
    text = f"`{argument}` must {rule}; got {value!r}."
    return f"{text} {advice}" if advice else text


def require(condition: bool, argument: str, rule: str, value: object, advice: str = "") -> None:
    """Raises `InvalidArgument` in the one form of an error unless `condition` holds."""
    if not condition:
        raise InvalidArgument(sentence(argument, rule, value, advice))


def positive(argument: str, value: float) -> None:
    """Requires ``value > 0`` and finite."""
    require(0 < value < float("inf"), argument, "be positive and finite", value)


def at_least(argument: str, value: float, bound: float) -> None:
    """Requires ``value >= bound`` and finite."""
    require(bound <= value < float("inf"), argument, f"be at least {bound}", value)


def probability(argument: str, value: float) -> None:
    """Requires ``0 <= value < 1``."""
    require(0 <= value < 1, argument, "be at least 0 and below 1", value)


def one_of(argument: str, value: object, valid: Collection[str]) -> None:
    """Requires `value` to be one of `valid`; the error names the nearest valid one."""
    if value not in valid:
        raise unknown(argument, str(value), valid)


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that resembles `name` most, or None.

    Example:
        >>> nearest("progresion", ["progression", "sex"])
        'progression'
    """
    names = list(valid)
    lowered = {candidate.lower(): candidate for candidate in names}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[found[0]] if found else None


def unknown(
    argument: str,
    name: str,
    valid: Collection[str],
    error: type[PolytaskError] = UnknownName,
) -> PolytaskError:
    """The error for a name that does not exist, with the nearest valid name or the list.

    Example:
        >>> str(unknown("balance", "eqaul", ["equal", "fixed"]))
        "`balance` 'eqaul' does not exist. Did you mean 'equal'? Valid: 'equal', 'fixed'."
    """
    shown = ", ".join(repr(candidate) for candidate in list(valid)[:12])
    if len(valid) > 12:
        shown += f", … ({len(valid)} in all)"
    guess = nearest(name, valid)
    hint = f" Did you mean {guess!r}?" if guess else ""
    return error(f"`{argument}` {name!r} does not exist.{hint} Valid: {shown or 'none'}.")
