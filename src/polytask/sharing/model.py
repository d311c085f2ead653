"""The multi-task model: backbone, sharing architecture, heads."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import final

from torch import Tensor, nn

from polytask._checks import require
from polytask.backbones import Backbone, HardConcrete
from polytask.backbones.base import Mix
from polytask.optim.kinds import parameter_kinds
from polytask.optim.roles import ParameterInfo, Role
from polytask.tasks.base import Task
from polytask.tasks.groups import TaskGroup, group_tasks

from .base import ModelOutput, SharingArchitecture
from .choose import chosen_tasks
from .hard import HardSharing
from .heads import Heads
from .members import average_members
from .parting import Part, parted
from .rows import check_rows
from .unpriced import has_penalties, refuse_gates, refuse_learned_dropout


@final
class MultiTaskModel(nn.Module):
    """Inputs → backbone → sharing → heads → raw outputs per task group.

    With a backbone of several members (`Backbone.members`), every member has heads of its own. In
    train mode the outputs of all are returned, so that each is trained on a loss of its own: the
    loss of the mean would let members hide behind each other. In eval mode they are averaged as
    the task says (`Task.average`): probabilities for classes, not logits.

    Args:
        backbone: Encoded rows → features ``[rows, width]``.
        sharing: Features → one representation per task.
        groups: Task groups (`polytask.tasks.group_tasks`); each gets one stacked head.
        head_dropout: Probability of dropping a unit of the representation while training, in
            [0, 1), with another mask for every head.
        dropout_samples: Multi-sample dropout: m masks of it per row, at least 1. The loss of a
            task is then the mean of its m losses, (1/m) Σ_s L(h(d_s ⊙ z), y), never the loss of
            the mean output; features z are computed once, and evaluation is what it was.

    Shapes:
        inputs: As the backbone takes them.
        outputs: per group ``[rows, k, outputs]``; in train mode of a backbone with members
            ``[rows, members, k, outputs]``, with samples ``[rows, m · members, k, outputs]``.

    Raises:
        InvalidArgument: If the backbone returns another number of rows than it was given, or
            of members than it has, if `head_dropout` is no probability, or if there are samples
            without it.
        UnknownName: If a task is asked for that does not exist.
        Unsupported: For learned dropout or gates whose term nobody adds (see
            `Backbone.penalties`).

    Example:
        >>> import numpy as np, torch
        >>> from polytask.backbones import MLP
        >>> from polytask.tasks import Regression
        >>> tasks = [Regression(name).fit(np.arange(4.0)) for name in ("a", "b")]
        >>> model = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks)
        >>> tuple(model(torch.zeros(5, 3)).outputs["a"].shape)
        (5, 2, 1)
        >>> model = MultiTaskModel.hard(
        ...     MLP(3, width=8, depth=1), tasks, head_dropout=0.5, dropout_samples=4
        ... )
        >>> tuple(model(torch.zeros(5, 3)).outputs["a"].shape)  # four losses per row and task
        (5, 4, 2, 1)

    Reference:
        Inoue, Multi-Sample Dropout for Accelerated Training and Better Generalization, 2019
        (`dropout_samples`). https://arxiv.org/abs/1905.09788
    """

    def __init__(
        self,
        backbone: Backbone,
        sharing: SharingArchitecture,
        groups: Sequence[TaskGroup],
        *,
        head_dropout: float = 0.0,
        dropout_samples: int = 1,
    ) -> None:
        require(
            dropout_samples == 1 or head_dropout > 0,
            "dropout_samples",
            "be 1 without head_dropout, whose masks it draws",
            dropout_samples,
        )
        super().__init__()
        if not (isinstance(sharing, HardSharing) and has_penalties(backbone)):
            refuse_learned_dropout(backbone)
        if not has_penalties(backbone):
            refuse_gates(backbone)
        self.backbone = backbone
        self.sharing = sharing
        self.members = backbone.members
        self.head_dropout = head_dropout
        self.dropout_samples = dropout_samples
        self.heads = Heads(
            groups,
            sharing,
            members=backbone.members,
            dropout=head_dropout,
            samples=dropout_samples,
        )
        self.groups = tuple(groups)
        self.tasks = tuple(task.name for group in groups for task in group.tasks)

    @classmethod
    def hard(
        cls,
        backbone: Backbone,
        tasks: Sequence[Task],
        *,
        separate: Collection[str] = (),
        head_dropout: float = 0.0,
        dropout_samples: int = 1,
    ) -> "MultiTaskModel":
        """The model with hard sharing, the usual one.

        Args:
            backbone: Shared by all tasks.
            tasks: Fitted tasks, in the user's order.
            separate: Names of tasks with a head tensor of their own (for a rate of their own).
            head_dropout: Dropout with a mask per head, in [0, 1).
            dropout_samples: Masks of it per row; the mean of their losses is trained.
        """
        sharing = HardSharing([task.name for task in tasks], backbone.width)
        groups = group_tasks(tasks, separate=separate)
        return cls(
            backbone,
            sharing,
            groups,
            head_dropout=head_dropout,
            dropout_samples=dropout_samples,
        )

    def forward(
        self,
        inputs: Mapping[str, Tensor] | Tensor,
        tasks: Sequence[str] | None = None,
        *,
        part: Part | None = None,
        mix: Mix | None = None,
    ) -> ModelOutput:
        """Raw outputs of `tasks` (None: all).

        Args:
            inputs: Encoded rows.
            tasks: Compute only these. The outputs of a group then hold only its asked tasks, in
                the group's order, and groups without one are absent; the numbers of a task do
                not depend on what else was asked.
            part: Gives every head a copy of its own of what it reads (`polytask.branch`), so that
                the gradients of the tasks can be told apart.
            mix: Mixes rows at a hidden layer (`hidden_mix`), of a backbone that is `mixable`.
        """
        if tasks is not None:
            tasks = chosen_tasks(self.tasks, tasks)
        features: Tensor = self.backbone(inputs) if mix is None else self.backbone(inputs, mix)
        check_rows(inputs, features, self.backbone, members=self.members)
        shared = self.sharing(features, tasks)
        shared = shared._replace(representations=parted(shared.representations, part))
        outputs: dict[str, Tensor] = self.heads(shared, tasks)
        if self.training:
            own = self.backbone.penalties(self.heads.weights())
            shared = shared._replace(penalties={**shared.penalties, **own})
        if self.members > 1 and not self.training:
            outputs = {
                group.name: average_members(outputs[group.name], group)
                for group in self.groups
                if group.name in outputs
            }
        return ModelOutput(outputs, shared)

    def roles(self) -> list[ParameterInfo]:
        """Every parameter once, tied ones under their first name with the tasks of all."""
        everyone = frozenset(self.tasks)
        gates = {
            id(module.log_alpha)
            for module in self.backbone.modules()
            if isinstance(module, HardConcrete)
        }
        rows = [
            ParameterInfo(
                f"backbone.{name}",
                self.backbone.get_parameter(name),
                Role.GATE if id(self.backbone.get_parameter(name)) in gates else Role.BACKBONE,
                kind,
                everyone,
            )
            for name, kind in parameter_kinds(self.backbone).items()
        ]
        rows += [replace(row, name=f"sharing.{row.name}") for row in self.sharing.roles()]
        rows += [replace(row, name=f"heads.{row.name}") for row in self.heads.roles()]
        once: dict[int, ParameterInfo] = {}
        for row in rows:
            first = once.get(id(row.parameter))
            merged = row if first is None else replace(first, tasks=first.tasks | row.tasks)
            once[id(row.parameter)] = merged
        declared = [row.name for row in once.values()]
        existing = [name for name, _ in self.named_parameters()]
        require(
            sorted(declared) == sorted(existing),
            "sharing.roles()",
            "declare every parameter of the model once",
            sorted(set(declared) ^ set(existing)),
        )
        return list(once.values())
