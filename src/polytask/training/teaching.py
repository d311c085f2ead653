"""What a teacher adds to the losses: outputs for the training rows, and how much they count."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from polytask.data.batch import Batches
from polytask.regularization.outputs import Distillation, TeacherOutputs
from polytask.tasks.groups import TaskGroup

from .defence import Defence
from .keeping import State, snapshot

ITSELF = Distillation(weight=1.0, temperature=1.0)
"""How a settled task follows its own best weights: their outputs replace its labels."""


@final
class Teaching:
    """Blends the losses on labels with the losses on a teacher's outputs.

    A task that was given a teacher shares its loss as `Distillation` says. A task that has settled
    follows the outputs of its own best weights alone, and its labels no longer count.

    Args:
        groups: Task groups.
        outputs: The teacher's outputs for all training rows; filled later for settled tasks.
        distillation: How the two losses share.
    """

    def __init__(
        self, groups: Sequence[TaskGroup], outputs: TeacherOutputs, distillation: Distillation
    ) -> None:
        self.groups = tuple(groups)
        self.outputs = outputs
        self.distillation = distillation
        self.fraction = 0.0
        """Of the run that is over, in [0, 1]."""

    @classmethod
    def of(
        cls,
        defence: Defence,
        groups: Sequence[TaskGroup],
        rows: int,
        device: torch.device,
        itself: bool,
    ) -> Self | None:
        """The teaching of a run, or None.

        Args:
            defence: May name a teacher.
            groups: Task groups.
            rows: Training rows.
            device: Of the model.
            itself: Whether settled tasks are taught by their own best weights.
        """
        if itself:
            return cls(groups, TeacherOutputs.empty(groups, rows, device), ITSELF)
        if defence.distillation is None or defence.teacher is None:
            return None
        return cls(groups, defence.teacher.to(device), defence.distillation)

    def blend(self, group: TaskGroup, loss: Tensor, output: Tensor, rows: Tensor) -> Tensor:
        """The losses ``[rows, k]`` of a group, those of taught tasks blended with the teacher's.

        Args:
            group: Equal tasks.
            loss: On their labels.
            output: Raw outputs, ``[rows, k, outputs]`` or with members in the second place.
            rows: Positions of the rows in the training table.
        """
        teacher = self.outputs.of(group.name, rows)
        if teacher is None:
            return loss
        wanted, active = teacher
        if output.ndim == wanted.ndim + 1:
            wanted = wanted.unsqueeze(1)
        distilled = group.distillation_loss(output, wanted, self.distillation.temperature)
        if distilled.ndim == loss.ndim + 1:
            distilled = distilled.mean(1)
        share = self.distillation.label_share(self.fraction)
        return torch.where(active, share * loss + (1 - share) * distilled, loss)

    def learn(self, model: nn.Module, weights: State, tasks: Sequence[str], train: Batches) -> None:
        """Takes the outputs of earlier weights as the targets of some tasks from now on.

        Args:
            model: Gets the earlier weights for a moment, and its own back.
            weights: The earlier ones.
            tasks: Whose targets these outputs become.
            train: All training rows.
        """
        own, training = snapshot(model), model.training
        model.load_state_dict(weights)
        model.eval()
        try:
            with torch.no_grad():
                for batch in train.epoch():
                    self.outputs.fill(model(batch.inputs).outputs, batch.rows, tasks)
        finally:
            model.load_state_dict(own)
            model.train(training)

    def state_dict(self) -> dict[str, Any]:
        """The teacher's outputs: those of settled tasks were made during the run."""
        return self.outputs.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.outputs.load_state_dict(state_dict)
