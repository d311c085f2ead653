"""The parameter groups of an optimizer: their rate during the run, and their description."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.optim import AdamW, Optimizer

from .roles import ParameterInfo


@dataclass(frozen=True)
class GroupSummary:
    """One parameter group in plain values, for the report.

    Args:
        names: Names of its parameters.
        learning_rate: At the start of the run.
        weight_decay: As given to the optimizer; 0 means excluded from decay.
        half_life: AdamW only: updates at the initial rate after which decay alone halves a
            weight, ln 2 / −ln(1 − rate · decay). A weight decay means nothing without its rate.
    """

    names: tuple[str, ...]
    learning_rate: float
    weight_decay: float
    half_life: float | None

    @property
    def decayed(self) -> bool:
        """Whether weight decay acts on the group."""
        return self.weight_decay > 0


def describe_groups(
    optimizer: Optimizer, infos: Sequence[ParameterInfo]
) -> tuple[GroupSummary, ...]:
    """What each group of the optimizer holds and how it is decayed.

    Args:
        optimizer: Any torch optimizer.
        infos: The model's parameters; they give the names.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from polytask.optim import Kind, Role
        >>> weight = nn.Parameter(torch.zeros(2))
        >>> info = ParameterInfo("w", weight, Role.HEAD, Kind.WEIGHT, frozenset({"a"}))
        >>> optimizer = AdamW([weight], lr=1e-2, weight_decay=0.1)
        >>> group = describe_groups(optimizer, [info])[0]
        >>> group.names, group.decayed, round(group.half_life)
        (('w',), True, 693)
    """
    names = {id(info.parameter): info.name for info in infos}
    return tuple(
        _summary(
            tuple(names.get(id(p), f"unnamed {tuple(p.shape)}") for p in group["params"]),
            float(group.get("initial_lr", group["lr"])),
            float(group.get("initial_weight_decay", group.get("weight_decay", 0.0))),
            isinstance(optimizer, AdamW),
        )
        for group in optimizer.param_groups
    )


def _summary(names: tuple[str, ...], rate: float, decay: float, decoupled: bool) -> GroupSummary:
    half_life = None
    if decoupled and 0 < rate * decay < 1:
        half_life = math.log(2) / -math.log1p(-rate * decay)
    return GroupSummary(names, rate, decay, half_life)


def undecayed(optimizer: Optimizer, infos: Sequence[ParameterInfo]) -> tuple[str, ...]:
    """Names of the parameters that weight decay leaves alone, for the report.

    Args:
        optimizer: Any torch optimizer.
        infos: The model's parameters; they give the names.
    """
    groups = describe_groups(optimizer, infos)
    return tuple(name for group in groups if not group.decayed for name in group.names)


def apply_rate(optimizer: Optimizer, factor: float) -> None:
    """Sets the learning rate of every group to its initial rate times `factor`.

    Groups keep their ratios, because each has an initial rate of its own (an optimizer that a user
    brings gets them from its present rates at the first call).

    Args:
        optimizer: Any torch optimizer.
        factor: Value of the schedule, at least 0.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
        >>> apply_rate(optimizer, 0.1); apply_rate(optimizer, 0.1)
        >>> optimizer.param_groups[0]["lr"]
        0.05
    """
    for group in optimizer.param_groups:
        rate = group["lr"]
        if isinstance(rate, Tensor):  # a tensor rate stays the same object for captured graphs
            group.setdefault("initial_lr", rate.clone())
            rate.copy_(group["initial_lr"] * factor)
        else:
            group.setdefault("initial_lr", rate)
            group["lr"] = group["initial_lr"] * factor


def apply_decay(optimizer: Optimizer, factor: float) -> None:
    """Sets the weight decay of every group to its initial decay times `factor`.

    Args:
        optimizer: Any torch optimizer.
        factor: Value of the schedule, at least 0.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> optimizer = AdamW([nn.Parameter(torch.zeros(1))], weight_decay=0.5)
        >>> apply_decay(optimizer, 0.1); apply_decay(optimizer, 0.1)
        >>> optimizer.param_groups[0]["weight_decay"]
        0.05
    """
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group.setdefault("initial_weight_decay", group["weight_decay"])
            group["weight_decay"] = group["initial_weight_decay"] * factor
