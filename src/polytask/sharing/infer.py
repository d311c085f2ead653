"""The roles of a user's parameters, found by one backward pass per task."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polytask.data.batch import Batch
from polytask.optim.kinds import parameter_kinds
from polytask.optim.roles import ParameterInfo, Role
from polytask.tasks.groups import TaskGroup

from .adapt import first_rows, trial
from .base import ModelOutput
from .heads import Heads


def infer_roles(
    model: nn.Module, groups: Sequence[TaskGroup], example: Batch
) -> list[ParameterInfo]:
    """Every parameter once, with the tasks whose outputs depend on it.

    Nothing is guessed from names: the outputs of each task are differentiated on a few rows, in
    eval mode, with buffers and random state given back. A parameter in polytask's `Heads`, or one
    that exactly one of several tasks reaches, is a HEAD; everything else, also what no task
    reaches and what is frozen, is BACKBONE.

    Args:
        model: Returns the `ModelOutput` of the asked tasks (see `adapt`).
        groups: Task groups.
        example: Some rows on the model's device.

    Example:
        >>> import numpy as np
        >>> from polytask.sharing import adapt
        >>> from polytask.tasks import Regression, group_tasks
        >>> groups = group_tasks([Regression("y").fit(np.arange(4.0))])
        >>> table = Batch(torch.zeros(4, 3), {}, {}, None, torch.arange(4))
        >>> model = adapt(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), groups, table)
        >>> [(info.name, str(info.role)) for info in infer_roles(model, groups, table)][:3]
        [('module.0.weight', 'backbone'), ('module.0.bias', 'backbone'), \
('heads.stacks.0.weight', 'head')]
    """
    kinds = parameter_kinds(model)
    parameters = dict(model.named_parameters())
    trainable = {name: p for name, p in parameters.items() if p.requires_grad}
    reached: dict[str, set[str]] = {name: set() for name in parameters}
    inputs = first_rows(example)
    with trial(model, inputs), torch.enable_grad():
        for group in groups:
            for task in group.tasks:
                # One task at a time: in a stack of outputs the others get zeros, not nothing.
                output: ModelOutput = model(inputs, [task.name])
                for name in _reached(output.outputs[group.name], trainable):
                    reached[name].add(task.name)
    several = sum(len(group.tasks) for group in groups) > 1
    orders = {
        id(info.parameter): info.order
        for part in model.modules()
        if isinstance(part, Heads)
        for info in part.roles()
    }
    return [
        ParameterInfo(
            name,
            parameter,
            Role.HEAD
            if id(parameter) in orders or (several and len(reached[name]) == 1)
            else Role.BACKBONE,
            kinds[name],
            frozenset(reached[name]),
            order=orders.get(id(parameter), ()),
        )
        for name, parameter in parameters.items()
    ]


def _reached(output: Tensor, trainable: dict[str, nn.Parameter]) -> list[str]:
    if not output.requires_grad or not trainable:
        return []
    gradients = torch.autograd.grad(output.sum(), list(trainable.values()), allow_unused=True)
    pairs = zip(trainable, gradients, strict=True)
    return [name for name, gradient in pairs if gradient is not None]
