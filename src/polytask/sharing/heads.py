"""Linear heads; equal ones are one stacked product."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask._checks import require
from polytask.optim.roles import Kind, ParameterInfo, Role
from polytask.tasks.groups import TaskGroup

from .base import Shared, SharingArchitecture
from .choose import chosen_tasks

_SMALL = 0.1


@final
class StackedHead(nn.Module):
    """k linear heads of equal size in one weight tensor.

    y_j = W_j z_j + b_j for j = 1 … k. If all heads read the same tensor this is one product of
    ``[rows, width]`` and ``[width, k · outputs]``, otherwise one batched product.

    Args:
        baselines: Bias of each head at the start, ``[k, outputs]``: the raw outputs that predict
            the training distribution. A model then starts at the mean predictor, not at zero.
        width: Width of the representation.

    Shapes:
        weight: ``[k, outputs, width]``; starts uniformly in ±0.1/√width, a tenth of what
            ``nn.Linear`` of this width would have, per head.
        output: ``[rows, k, outputs]``.

    Example:
        >>> head = StackedHead(torch.tensor([[1.0], [2.0]]), width=4)
        >>> head([torch.zeros(3, 4)] * 2)[0].flatten().tolist()
        [1.0, 2.0]
    """

    def __init__(self, baselines: Float[Tensor, "k outputs"], width: int) -> None:
        super().__init__()
        heads, outputs = baselines.shape
        dtype = torch.get_default_dtype()
        self.weight = nn.Parameter(torch.empty(heads, outputs, width, dtype=dtype))
        self.bias = nn.Parameter(baselines.to(dtype).clone())
        # torch's initialisers read the fan-in of a 3-D tensor as outputs · width.
        bound = _SMALL / math.sqrt(width)
        nn.init.uniform_(self.weight, -bound, bound)

    def parameter_kinds(self) -> dict[str, Kind]:
        """The bias has two dimensions here, and is a bias all the same."""
        return {"weight": Kind.WEIGHT, "bias": Kind.BIAS}

    def forward(
        self,
        representations: Sequence[Float[Tensor, "rows width"]],
        chosen: Sequence[int] | None = None,
    ) -> Float[Tensor, "rows chosen outputs"]:
        """Raw outputs of the chosen heads (None: all), one representation per chosen head.

        A head's numbers do not depend on which others are chosen: with one common representation
        the whole product is computed and cut, because a narrower product may round differently.
        """
        first = representations[0]
        if all(representation is first for representation in representations):
            product = nn.functional.linear(first, self.weight.flatten(0, 1), self.bias.flatten())
            outputs = product.view(first.shape[0], *self.bias.shape)
            return outputs if chosen is None else outputs[:, list(chosen)]
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if chosen is not None:
            weight, bias = weight[list(chosen)], bias[list(chosen)]
        stacked = torch.stack(list(representations))
        return torch.baddbmm(bias.unsqueeze(1), stacked, weight.mT).transpose(0, 1)


@final
class Heads(nn.Module):
    """The heads of all tasks, one `StackedHead` per task group.

    State keys are ``stacks.0.weight``, ``stacks.0.bias``, … in the order of the groups.

    Args:
        groups: Task groups; the tasks of a group have heads of equal size.
        sharing: Says how wide each task's representation is.

    Shapes:
        output: per group ``[rows, k, outputs]``.

    Raises:
        InvalidArgument: If tasks of one group differ in outputs or width, or a task occurs twice.

    Example:
        >>> from polytask.sharing import HardSharing
        >>> from polytask.tasks import Regression, group_tasks
        >>> import numpy as np
        >>> tasks = [Regression(name).fit(np.arange(4.0)) for name in ("a", "b")]
        >>> sharing = HardSharing(["a", "b"], 8)
        >>> heads = Heads(group_tasks(tasks), sharing)
        >>> {name: tuple(y.shape) for name, y in heads(sharing(torch.zeros(5, 8))).items()}
        {'a': (5, 2, 1)}
    """

    def __init__(self, groups: Sequence[TaskGroup], sharing: SharingArchitecture) -> None:
        super().__init__()
        names = [task.name for group in groups for task in group.tasks]
        require(len(names) > 0, "groups", "hold at least one task", names)
        require(len(set(names)) == len(names), "groups", "hold every task once", names)
        self.groups = tuple(groups)
        self._names = [[task.name for task in group.tasks] for group in groups]
        self.stacks = nn.ModuleList()
        for group in groups:
            outputs = {task.name: task.outputs for task in group.tasks}
            widths = {task.name: sharing.width(task.name) for task in group.tasks}
            for what, sizes in (("outputs", outputs), ("representation widths", widths)):
                require(
                    len(set(sizes.values())) == 1,
                    "groups",
                    f"have equal {what} within the group {group.name!r}",
                    sizes,
                    "Separate these tasks: group_tasks(tasks, separate=[…]).",
                )
            baselines = torch.stack([task.baseline().detach().cpu() for task in group.tasks])
            self.stacks.append(StackedHead(baselines, widths[group.tasks[0].name]))

    def forward(
        self, shared: Shared, tasks: Sequence[str] | None = None
    ) -> dict[str, Float[Tensor, "rows k outputs"]]:
        """Representations → raw outputs per group, of the asked tasks in the group's order.

        A group without an asked task is absent from the result.
        """
        representations: Mapping[str, Tensor] = shared.representations
        outputs: dict[str, Tensor] = {}
        if tasks is None:
            for group, names, stack in zip(self.groups, self._names, self.stacks, strict=True):
                outputs[group.name] = stack([representations[name] for name in names])
            return outputs
        wanted = set(chosen_tasks([name for names in self._names for name in names], tasks))
        for group, names, stack in zip(self.groups, self._names, self.stacks, strict=True):
            chosen = [index for index, name in enumerate(names) if name in wanted]
            if chosen:
                cut = None if len(chosen) == len(names) else chosen
                outputs[group.name] = stack([representations[names[i]] for i in chosen], cut)
        return outputs

    def roles(self) -> list[ParameterInfo]:
        """Weight and bias of every stack; a group's tasks all reach its one tensor."""
        return [
            ParameterInfo(f"stacks.{index}.{name}", parameter, Role.HEAD, kind, frozenset(names))
            for index, (stack, names) in enumerate(zip(self.stacks, self._names, strict=True))
            for (name, parameter), kind in zip(
                stack.named_parameters(), (Kind.WEIGHT, Kind.BIAS), strict=True
            )
        ]
