"""Which parameters a selector means, and why the others are left out."""

import re
from collections.abc import Sequence

from polytask._checks import require, unknown
from polytask.errors import InvalidArgument
from polytask.optim.roles import Kind, ParameterInfo, Role, Selector


def layers() -> Selector:
    """The weights of backbone, trunk and experts, one row per output."""
    return Selector(roles=frozenset({Role.BACKBONE, Role.TRUNK, Role.EXPERT}), group="row")


def heads() -> Selector:
    """The weights of all heads, by what tasks make of one feature."""
    return Selector(roles=frozenset({Role.HEAD}), group="tasks")


def select(infos: Sequence[ParameterInfo], selector: Selector) -> list[ParameterInfo]:
    """The trainable parameters that the selector means; tied ones once, in the order of `infos`.

    Tensors with fewer than two dimensions count as weights only if the selector's `names` ask for
    them, or its `kinds` hold more than weights.

    Args:
        infos: The model's parameters, as ``model.roles()`` gives them.
        selector: What to keep.

    Raises:
        InvalidArgument: If nothing is selected, or `names` is no regular expression.
        UnknownName: If the selector names a task that does not exist.

    Example:
        >>> from torch import nn
        >>> layer = nn.Linear(2, 1)
        >>> infos = [
        ...     ParameterInfo("w", layer.weight, Role.HEAD, Kind.WEIGHT, frozenset({"a"})),
        ...     ParameterInfo("b", layer.bias, Role.HEAD, Kind.BIAS, frozenset({"a"})),
        ... ]
        >>> [info.name for info in select(infos, Selector())]
        ['w']
    """
    reasons = left_out(infos, selector)
    chosen: dict[int, ParameterInfo] = {}
    for info in infos:
        if info.name not in reasons:
            chosen.setdefault(id(info.parameter), info)
    if not chosen:
        there = ", ".join(f"{info.name} ({info.role}, {info.kind})" for info in infos[:12])
        more = f", … ({len(infos)} in all)" if len(infos) > 12 else ""
        roles = ", ".join(sorted(selector.roles))
        kinds = ", ".join(sorted(selector.kinds))
        raise InvalidArgument(
            f"`selector` must select a trainable parameter; got roles {roles}, kinds {kinds}, "
            f"names {selector.names!r}, which select none. There are: {there or 'none'}{more}."
        )
    return list(chosen.values())


def left_out(infos: Sequence[ParameterInfo], selector: Selector) -> dict[str, str]:
    """Name → reason, for every parameter on which the selector does not act."""
    try:
        pattern = re.compile(selector.names)
    except re.error as error:
        raise InvalidArgument(
            f"`selector.names` must be a regular expression; got {selector.names!r}. {error}."
        ) from error
    if selector.tasks is not None:
        require(len(selector.tasks) > 0, "selector.tasks", "name at least one task", [])
        known = sorted({task for info in infos for task in info.tasks})
        for task in sorted(selector.tasks):
            if task not in known:
                raise unknown("selector.tasks", task, known)
    reasons = {info.name: _reason(info, selector, pattern) for info in infos}
    return {name: reason for name, reason in reasons.items() if reason}


def _reason(info: ParameterInfo, selector: Selector, pattern: "re.Pattern[str]") -> str:
    by_name = selector.names != Selector().names
    if not info.parameter.requires_grad:
        return "frozen"
    if info.role not in selector.roles:
        return f"role {info.role}"
    if info.kind not in selector.kinds:
        return f"kind {info.kind}"
    if not pattern.fullmatch(info.name):
        return "name"
    if info.kind is Kind.WEIGHT and info.parameter.ndim < 2 and not by_name:
        return f"{info.parameter.ndim} dimensions"
    if selector.tasks is not None and not info.tasks <= selector.tasks:
        if not (is_stacked(info) and info.tasks & selector.tasks):
            return "tasks"
        require(
            len(info.order) == len(info.parameter),
            "selector.tasks",
            "name all tasks of a stacked head whose order is unknown",
            sorted(selector.tasks),
            f"The head {info.name} serves {', '.join(sorted(info.tasks))}.",
        )
    return ""


def is_stacked(info: ParameterInfo) -> bool:
    """Whether the first dimension counts heads: ``[k, …, outputs, width]``, ``[k, outputs]``."""
    least = 2 if info.kind is Kind.BIAS else 3
    return info.role is Role.HEAD and info.parameter.ndim >= least


def slices(info: ParameterInfo, selector: Selector) -> list[int] | None:
    """Which heads of a stacked tensor are meant; None for all of it."""
    if selector.tasks is None or not is_stacked(info) or info.tasks <= selector.tasks:
        return None
    return [index for index, task in enumerate(info.order) if task in selector.tasks]
