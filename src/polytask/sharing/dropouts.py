"""Dropout in a user's network that leaves next to nothing, or shakes a regression output."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from polytask.errors import PolytaskWarning
from polytask.tasks.groups import TaskGroup

_DROPOUTS = (nn.Dropout, nn.AlphaDropout)
_HANDFUL = 4
_HALF = 0.5


class Call(NamedTuple):
    """One call of a layer without children, in the order of the forward pass."""

    layer: nn.Module
    given: object
    result: object


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
