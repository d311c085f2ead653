"""What a user's network may not have, and dropout in it that does harm."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from polytask.backbones import Backbone, HardConcrete
from polytask.backbones.concrete_dropout import ConcreteDropout
from polytask.errors import PolytaskWarning, Unsupported
from polytask.tasks.groups import TaskGroup

_DROPOUTS = (nn.Dropout, nn.AlphaDropout)
_HANDFUL = 4
_HALF = 0.5


class Call(NamedTuple):
    """One call of a layer without children, in the order of the forward pass."""

    layer: nn.Module
    given: object
    result: object


def has_penalties(backbone: Backbone) -> bool:
    """Whether the backbone says what it adds to the objective."""
    return type(backbone).penalties is not Backbone.penalties


def refuse_learned_dropout(module: nn.Module) -> None:
    """Raises if a module has learned dropout, for places where its term would be left out.

    Args:
        module: A network that does not say what it adds to the objective.

    Raises:
        Unsupported: Its probabilities would fall to 0, without a word.
    """
    if any(isinstance(layer, ConcreteDropout) for layer in module.modules()):
        raise Unsupported(
            f"ConcreteDropout in {type(module).__name__} would be trained without its term, and "
            "its probability would fall to 0. Use a backbone that adds it, such as "
            "MLP(concrete_rows=…) with hard sharing, or a loop of your own."
        )


def refuse_gates(module: nn.Module) -> None:
    """Raises if a module has gates, for places where their price would be left out.

    Args:
        module: A network that does not say what it adds to the objective.

    Raises:
        Unsupported: Without a price no gate would shut, without a word.
    """
    if any(isinstance(layer, HardConcrete) for layer in module.modules()):
        raise Unsupported(
            f"The gates in {type(module).__name__} would be trained without their price, and none "
            "would shut. Use a backbone that adds it, such as MLP(gates=…) in a MultiTaskModel, or "
            "a loop of your own."
        )


def warn_of_dropout(calls: Sequence[Call], outputs: object, groups: Sequence[TaskGroup]) -> None:
    """Says which dropout destroys capacity, and which one makes regression outputs vary.

    Args:
        calls: What a trial in eval mode called; dropout passes its input on there.
        outputs: What the module returned: features, or outputs by task name.
        groups: Task groups.

    Warns:
        PolytaskWarning: If fewer than four of the units are kept on average, or if dropout of 0.5
            or more (its noise is as large as the signal) stands right before a regression output.
    """
    for call in calls:
        if isinstance(call.layer, _DROPOUTS) and isinstance(call.result, Tensor):
            units = call.result.shape[-1]
            kept = units * (1.0 - call.layer.p)
            if call.layer.p > 0 and kept < _HANDFUL:
                warnings.warn(
                    f"Dropout {call.layer.p:g} on {units} units leaves {kept:g} units on average: "
                    "that destroys capacity. Use a wider layer or dropout 0.",
                    PolytaskWarning,
                    stacklevel=3,
                )
    for group in groups:
        for task in group.tasks:
            read = outputs.get(task.name) if isinstance(outputs, dict) else outputs
            p = _dropout_before(calls, read)
            if task.spec.kind == "regression" and p >= _HALF:
                warnings.warn(
                    f"Dropout {p:g} stands right before the regression output {task.name!r}: while "
                    "training it varies by as much as it says, at prediction not at all. Put the "
                    "dropout before the last hidden layer, or use less.",
                    PolytaskWarning,
                    stacklevel=3,
                )


def _dropout_before(calls: Sequence[Call], output: object) -> float:
    """Probability of a dropout that makes `output`, or is read by the linear map that makes it."""
    made = {id(call.result): call for call in calls if not isinstance(call.layer, _DROPOUTS)}
    dropped = {id(call.result): call.layer.p for call in calls if isinstance(call.layer, _DROPOUTS)}
    if id(output) in dropped:
        return float(dropped[id(output)])
    call = made.get(id(output))
    if call is not None and isinstance(call.layer, nn.Linear):
        return float(dropped.get(id(call.given), 0.0))
    return 0.0
