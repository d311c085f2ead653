"""Labels of a table as tensors per task group."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.tasks import TaskGroup


def encode_targets(
    labels: Mapping[str, NDArray[Any]], groups: Sequence[TaskGroup]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Targets ``[rows, k(, labels)]`` and masks ``[rows, k]`` of every group.

    Args:
        labels: Task → raw values, as `TableForm.labels` gives them.
        groups: Task groups of fitted tasks.
    """
    targets, masks = {}, {}
    for group in groups:
        encoded = [task.encode(labels[task.name]) for task in group.tasks]
        targets[group.name] = torch.stack([target for target, _ in encoded], dim=1)
        masks[group.name] = torch.stack([mask for _, mask in encoded], dim=1)
    return targets, masks
