"""Several models as one, each predicting the tasks that it is best at."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from polytask.sharing import MultiTaskModel
from polytask.sharing.base import ModelOutput


@final
class PerTask(nn.Module):
    """Answers like the models it is made of, every task from its own one.

    Args:
        models: Over the same task groups.
        serves: Task → number of the model that predicts it.
    """

    def __init__(self, models: Sequence[MultiTaskModel], serves: Mapping[str, int]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.groups = models[0].groups
        self._serves = dict(serves)

    def forward(self, inputs: Mapping[str, Tensor] | Tensor) -> ModelOutput:
        """Raw outputs per task group."""
        runs: list[ModelOutput] = [model(inputs) for model in self.models]
        outputs = {
            group.name: torch.stack(
                [
                    runs[self._serves[task.name]].outputs[group.name][..., place, :]
                    for place, task in enumerate(group.tasks)
                ],
                dim=-2,
            )
            for group in self.groups
        }
        return ModelOutput(outputs, runs[0].shared)
