"""The bond between an optimizer and a model, checked before the first step."""

from collections import Counter

from torch import nn
from torch.optim import Optimizer

from polytask.errors import InvalidArgument


def check_binding(optimizer: Optimizer, model: nn.Module) -> None:
    """Requires the optimizer to hold exactly the trainable parameters of the model, each once.

    An optimizer made for another model trains nothing, and the gradients of this one would pile
    up because `zero_grad` clears the other one's.

    Args:
        optimizer: Any torch optimizer.
        model: The model that is about to be trained (put a learned balancer into the same
            ``nn.ModuleList`` if its parameters are in the optimizer too).

    Raises:
        InvalidArgument: Naming the parameters that are missing, foreign or doubled.

    Example:
        >>> import torch
        >>> mine, other = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> check_binding(torch.optim.SGD(mine.parameters(), lr=0.1), mine)
        >>> check_binding(torch.optim.SGD(other.parameters(), lr=0.1), mine)
        Traceback (most recent call last):
        ...
        polytask.errors.InvalidArgument: `optimizer` must hold every trainable parameter of the \
model; it lacks 'weight', 'bias'. Build it from this model's parameters().
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    trainable = {
        id(parameter): name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    counts = Counter(id(parameter) for parameter in held)

    missing = [name for key, name in trainable.items() if key not in counts]
    if missing:
        raise InvalidArgument(
            "`optimizer` must hold every trainable parameter of the model; it lacks "
            f"{_shown(missing)}. Build it from this model's parameters()."
        )
    doubled = [names.get(key, "a foreign tensor") for key, count in counts.items() if count > 1]
    if doubled:
        raise InvalidArgument(
            "`optimizer` must hold every parameter once; it holds more than once "
            f"{_shown(doubled)}. Remove the repetition from its groups."
        )
    foreign = [f"shape {tuple(p.shape)}" for p in held if id(p) not in names]
    if foreign:
        raise InvalidArgument(
            "`optimizer` must hold parameters of the model only; it also holds tensors that the "
            f"model does not have: {_shown(foreign)}. Build it from this model's parameters()."
        )


def _shown(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:6])
    return shown if len(names) <= 6 else f"{shown}, … ({len(names)} in all)"
