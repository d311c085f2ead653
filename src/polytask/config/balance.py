"""From ``[balance]`` to the method that says how the tasks share the update."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polytask._checks import unknown
from polytask.errors import InvalidArgument

from .catalogue import construct, find, resolve
from .run import BalanceConfig

if TYPE_CHECKING:
    from polytask.aggregation import GramianAggregator
    from polytask.gradients import Balance

_OURS = ("num_tasks", "preference", "forms", "weights", "schedules")
"""Arguments that are filled in from other options."""


def build_balance(
    config: BalanceConfig,
    tasks: Sequence[str],
    weights: Sequence[float] = (),
    *,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
) -> "Balance":
    """The method for the tasks in the user's order.

    Args:
        config: ``[balance]``.
        tasks: Names of the tasks.
        weights: Weight of each task (``TaskSpec.weight``); empty: ones. ``balance.weights`` wins
            over them; scheduled weights are multiplied by them.
        kinds: Task → kind of target, for methods whose formula depends on it.
        seed: Of methods that draw random numbers, where ``options`` has none.

    Raises:
        UnknownName: For a method, or a task in ``weights``, ``schedule`` or ``preference``, that
            does not exist.
        InvalidArgument: For an option that the method does not have, or a value that it refuses.

    Example:
        >>> build_balance(BalanceConfig(name="fixed", weights={"sex": 3}), ["age", "sex"]).values
        tensor([1., 3.], dtype=torch.float64)
        >>> type(build_balance(BalanceConfig(name="mgda", every=10), ["age", "sex"])).__name__
        'EveryN'
    """
    entry = find("balancing", config.name, option="balance")
    method = resolve("balancing", config.name, option="balance")
    own = dict(zip(tasks, weights, strict=True)) if weights else dict.fromkeys(tasks, 1.0)
    for option in ("weights", "schedule", "preference"):
        for name in getattr(config, option):
            if name not in tasks:
                raise unknown(f"balance.{option}", name, list(tasks))
    parameters = inspect.signature(method).parameters
    _check_options(config, list(parameters))
    given: dict[str, Any] = {
        "num_tasks": len(tasks),
        "forms": [_form((kinds or {}).get(task, "regression")) for task in tasks],
        "weights": [config.weights.get(task, own[task]) for task in tasks],
        "schedules": [_weight_schedule(config, task, own[task]) for task in tasks],
        "preference": [config.preference.get(task, 1.0) for task in tasks]
        if config.preference
        else None,
        "seed": seed,
    }
    arguments = {name: value for name, value in given.items() if name in parameters}
    built: Balance = construct(
        method,
        arguments | config.options,
        option="balance.options",
        name=config.name,
        options=config.options,
    )
    return _wrapped(built, config) if entry.weighs else built  # type: ignore[arg-type]


def _form(kind: str) -> str:
    """The likelihood of a kind of target: squared errors, or that of labels and counts."""
    return "regression" if kind == "regression" else "classification"


def _wrapped(method: "GramianAggregator", config: BalanceConfig) -> "GramianAggregator":
    """What is done to gradients before the method sees them, and to its weights afterwards."""
    from polytask.aggregation import (
        ClipTaskGradients,
        EqualizeNorms,
        EveryN,
        MovingAverageWeights,
    )

    if config.clip:
        method = ClipTaskGradients(method, config.clip)
    if config.equalize != "none":
        method = EqualizeNorms(method, config.equalize)
    if config.smoothing:
        method = MovingAverageWeights(method, config.smoothing)
    return EveryN(method, config.every) if config.every > 1 else method


def _weight_schedule(config: BalanceConfig, task: str, weight: float) -> Callable[[float], float]:
    from polytask.optim import constant, linear, piecewise, product

    points = config.schedule.get(task)
    if not points:
        return constant(weight)
    shape = piecewise if config.interpolation == "step" else linear
    try:
        return product(constant(weight), shape(points))
    except InvalidArgument as error:
        raise InvalidArgument(f"`balance.schedule` of task {task!r}: {error}") from error


def _check_options(config: BalanceConfig, parameters: Sequence[str]) -> None:
    """Options of the method are its named arguments, besides those that polytask fills in."""
    valid = [name for name in parameters if name not in _OURS]
    for name in config.options:
        if name in _OURS or not valid:
            raise InvalidArgument(
                f"`balance.options.{name}` does not exist: {config.name!r} has "
                f"{'these: ' + ', '.join(valid) if valid else 'no options'}. Leave it out."
            )
        if name not in valid:
            raise unknown("balance.options", name, valid)
