"""Every method by name: what it is, where it lives, what it costs. A static table, no imports."""

import importlib
from collections.abc import Mapping
from typing import Any

from polytask._checks import sentence, unknown
from polytask.errors import InvalidArgument

from .method import Method
from .methods_balancing import BALANCING
from .methods_core import CORE
from .methods_defence import DEFENCE
from .methods_penalties import PENALTIES

FAMILIES = {
    "task": "kinds of targets: --target NAME:KIND",
    "balancing": "how the tasks share the update: --balance NAME",
    "backbone": "features in, vector out: --set model.backbone=NAME",
    "sharing": "what the tasks share",
    "optimizer": "--set optimizer.name=NAME",
    "schedule": "the learning rate over the run: --set schedule.name=NAME",
    "stopping": "which epoch is kept: --set training.stopping=NAME",
    "defence": "presets against overfitting: --defence NAME",
    "penalty": "terms on the weights: --penalty NAME=STRENGTH, or [[penalties]]",
    "input": "what is done to training rows: --set inputs.NAME=STRENGTH",
    "layer": "what is done inside the network in training: --set model.NAME=STRENGTH",
    "update": "what is done to the gradient: --set update.NAME=STRENGTH",
    "averaging": "averaged weights are kept: --set averaging.name=NAME",
    "split": "which rows validate: --group, --time, --valid, --set data.split=COLUMN",
}
"""Family → how a method of it is chosen."""

METHODS: tuple[Method, ...] = (*CORE, *BALANCING, *DEFENCE, *PENALTIES)


def methods(family: str | None = None) -> tuple[Method, ...]:
    """The catalogue, or one family of it.

    Raises:
        UnknownName: If there is no such family.

    Example:
        >>> [method.name for method in methods("stopping")]
        ['regret', 'mean', 'any', 'all', 'freeze-head', 'distil', 'none']
    """
    if family is None:
        return METHODS
    if family not in FAMILIES:
        raise unknown("family", family, list(FAMILIES))
    return tuple(method for method in METHODS if method.family == family)


def find(family: str, name: str, *, option: str | None = None) -> Method:
    """The entry of a method.

    Args:
        family: One of `FAMILIES`.
        name: Name of the method.
        option: The option that the user typed, for the sentence; default: the family.

    Raises:
        UnknownName: If there is none; the nearest name is given.
    """
    known = {method.name: method for method in methods(family)}
    if name not in known:
        raise unknown(option or family, name, list(known))
    return known[name]


def resolve(family: str, name: str, *, option: str | None = None) -> Any:
    """The class or function of a method, imported when it is asked for.

    Raises:
        UnknownName: As `find`.

    Example:
        >>> resolve("stopping", "mean").__name__
        'Mean'
    """
    module, _, attribute = find(family, name, option=option).target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def construct(
    method: Any, arguments: Mapping[str, Any], *, option: str, name: str, options: Mapping[str, Any]
) -> Any:
    """``method(**arguments)``; what is no number where one is expected is refused in a sentence.

    Args:
        method: A class of the catalogue.
        arguments: All of its arguments.
        option: Where the user wrote some of them.
        name: Of the method.
        options: What the user wrote; if it is nothing, an error is not the user's and goes on.

    Raises:
        InvalidArgument: For a value of another type.
    """
    try:
        return method(**arguments)
    except (TypeError, RuntimeError) as error:
        if not options:
            raise
        rule = f"hold values of the types that {name!r} documents"
        raise InvalidArgument(sentence(option, rule, dict(options))) from error
