"""Linear heads; equal ones are one stacked product."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask._checks import at_least, probability, require, unknown
from polytask.backbones.dropout import dropout as dropped
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

    On a backbone with members (sub-models), every member has k heads of its own.

    Args:
        baselines: Bias of each head at the start, ``[k, outputs]``: the raw outputs that predict
            the training distribution. A model then starts at the mean predictor, not at zero.
        width: Width of the representation.
        members: Sub-models of the backbone, at least 1.
        dropout: Probability of dropping a unit of the representation while training, in [0, 1),
            with another mask for every head.

    Shapes:
        weight: ``[k, outputs, width]``, with members ``[k, members, outputs, width]``; starts
            uniformly in ±0.1/√width, a tenth of what ``nn.Linear`` of this width would have.
        bias: ``[k, outputs]``, with members ``[k, members, outputs]``.
        representations: ``[rows, width]``, with members ``[rows, members, width]``.
        output: ``[rows, k, outputs]``, with members ``[rows, members, k, outputs]``.

    Raises:
        InvalidArgument: If `members` is below 1 or `dropout` is no probability.

    Note:
        Dropout keeps one copy of the representation per head while training.

    Example:
        >>> head = StackedHead(torch.tensor([[1.0], [2.0]]), width=4)
        >>> head([torch.zeros(3, 4)] * 2)[0].flatten().tolist()
        [1.0, 2.0]
    """

    def __init__(
        self,
        baselines: Float[Tensor, "k outputs"],
        width: int,
        *,
        members: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        at_least("members", members, 1)
        probability("head_dropout", dropout)
        self.members = members
        self.dropout = dropout
        dtype = torch.get_default_dtype()
        bias = baselines.to(dtype)
        if members > 1:
            bias = bias.unsqueeze(1).expand(-1, members, -1)
        self.weight = nn.Parameter(torch.empty(*bias.shape, width, dtype=dtype))
        self.bias = nn.Parameter(bias.clone())
        # torch's initialisers read the fan-in of a 3-D tensor as outputs · width.
        bound = _SMALL / math.sqrt(width)
        nn.init.uniform_(self.weight, -bound, bound)

    def parameter_kinds(self) -> dict[str, Kind]:
        """The bias has two dimensions here, and is a bias all the same."""
        return {"weight": Kind.WEIGHT, "bias": Kind.BIAS}

    def forward(
        self,
        representations: Sequence[Float[Tensor, "rows *members width"]],
        chosen: Sequence[int] | None = None,
        samples: int = 1,
    ) -> Float[Tensor, "rows *members chosen outputs"]:
        """Raw outputs of the chosen heads (None: all), one representation per chosen head.

        A head's numbers do not depend on which others are chosen: with one common representation
        the whole product is computed and cut, because a narrower product may round differently.

        Args:
            representations: What each chosen head reads.
            chosen: Positions of heads.
            samples: Masks of dropout, for as many outputs beside each other: they stand where
                members stand, those of one mask together. Without dropout there is one output.
        """
        if self.training and self.dropout > 0 and samples > 1:
            parts = [self._general(representations, chosen) for _ in range(samples)]
            return torch.cat([part if self.members > 1 else part.unsqueeze(1) for part in parts], 1)
        if self.members > 1 or (self.training and self.dropout > 0):
            return self._general(representations, chosen)
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

    def _general(
        self, representations: Sequence[Tensor], chosen: Sequence[int] | None
    ) -> Float[Tensor, "rows *members chosen outputs"]:
        """The same with an axis of members, and with a mask of dropout per head."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if self.members == 1:
            weight, bias = weight.unsqueeze(1), bias.unsqueeze(1)
        heads, members, outputs, _ = weight.shape
        first = representations[0]
        common = all(representation is first for representation in representations)
        private = self.training and self.dropout > 0
        if common and not private:
            # One product per member, of all its heads.
            matrix = weight.permute(1, 3, 0, 2).flatten(2)
            start = bias.transpose(0, 1).flatten(1).unsqueeze(1)
            product = torch.baddbmm(start, first.transpose(0, 1), matrix)
            result = product.view(members, len(first), heads, outputs).transpose(0, 1)
            return result if chosen is None else result[:, :, list(chosen)]
        if chosen is not None:
            weight, bias = weight[list(chosen)], bias[list(chosen)]
        asked = len(representations)
        stacked = first.expand(asked, *first.shape) if common else torch.stack([*representations])
        if private:
            stacked = dropped(stacked, self.dropout)
        if self.members == 1:
            stacked = stacked.unsqueeze(2)
        # One product per head and member.
        product = torch.baddbmm(
            bias.flatten(0, 1).unsqueeze(1),
            stacked.transpose(1, 2).flatten(0, 1),
            weight.flatten(0, 1).mT,
        )
        result = product.view(asked, members, len(first), outputs).permute(2, 1, 0, 3)
        return result.squeeze(1) if self.members == 1 else result


@final
class Heads(nn.Module):
    """The heads of all tasks, one `StackedHead` per task group.

    State keys are ``stacks.0.weight``, ``stacks.0.bias``, … in the order of the groups.

    Args:
        groups: Task groups; the tasks of a group have heads of equal size.
        sharing: Says how wide each task's representation is.
        members: Sub-models of the backbone; with more than one, each has heads of its own.
        dropout: Probability of dropping a unit of the representation while training, in [0, 1),
            with another mask for every task: what one head leans on is not what the others lose.
        samples: Masks of that dropout per row, at least 1 (see `MultiTaskModel`).

    Shapes:
        output: per group ``[rows, k, outputs]``, with members ``[rows, members, k, outputs]``;
            in train mode with samples ``[rows, samples · members, k, outputs]``.

    Raises:
        InvalidArgument: If tasks of one group differ in outputs or width, a task occurs twice, or
            a number is out of range.

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

    def __init__(
        self,
        groups: Sequence[TaskGroup],
        sharing: SharingArchitecture,
        *,
        members: int = 1,
        dropout: float = 0.0,
        samples: int = 1,
    ) -> None:
        super().__init__()
        at_least("dropout_samples", samples, 1)
        self.samples = samples
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
            width = widths[group.tasks[0].name]
            self.stacks.append(StackedHead(baselines, width, members=members, dropout=dropout))

    def forward(
        self, shared: Shared, tasks: Sequence[str] | None = None
    ) -> dict[str, Float[Tensor, "rows *members k outputs"]]:
        """Representations → raw outputs per group, of the asked tasks in the group's order.

        A group without an asked task is absent from the result.
        """
        representations: Mapping[str, Tensor] = shared.representations
        # Not the stacks' own mode: dropout while predicting (`mc_dropout`) draws one mask a time.
        samples = self.samples if self.training else 1
        outputs: dict[str, Tensor] = {}
        if tasks is None:
            for group, names, stack in zip(self.groups, self._names, self.stacks, strict=True):
                outputs[group.name] = stack(
                    [representations[name] for name in names], samples=samples
                )
            return outputs
        wanted = set(chosen_tasks([name for names in self._names for name in names], tasks))
        for group, names, stack in zip(self.groups, self._names, self.stacks, strict=True):
            chosen = [index for index, name in enumerate(names) if name in wanted]
            if chosen:
                cut = None if len(chosen) == len(names) else chosen
                read = [representations[names[i]] for i in chosen]
                outputs[group.name] = stack(read, cut, samples)
        return outputs

    def weights(self) -> list[Tensor]:
        """The weights of all heads, ``[k, outputs, width]`` per group, with members in between."""
        return [next(stack.parameters()) for stack in self.stacks]

    def of(self, task: str) -> tuple[Tensor, Tensor]:
        """Weight and bias of one task's head: views, so that writing in them moves the head.

        Raises:
            UnknownName: If there is no such task.
        """
        for names, stack in zip(self._names, self.stacks, strict=True):
            if task in names:
                place = names.index(task)
                weight, bias = (parameter.detach()[place] for parameter in stack.parameters())
                return weight, bias
        raise unknown("task", task, [name for names in self._names for name in names])

    def roles(self) -> list[ParameterInfo]:
        """Weight and bias of every stack; a group's tasks all reach its one tensor."""
        return [
            ParameterInfo(
                f"stacks.{index}.{name}",
                parameter,
                Role.HEAD,
                kind,
                frozenset(names),
                order=tuple(names),
            )
            for index, (stack, names) in enumerate(zip(self.stacks, self._names, strict=True))
            for (name, parameter), kind in zip(
                stack.named_parameters(), (Kind.WEIGHT, Kind.BIAS), strict=True
            )
        ]
