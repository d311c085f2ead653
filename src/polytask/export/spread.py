"""How far predictions scatter when dropout stays on: Monte-Carlo dropout of a bundle's members."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from polytask.regularization.features import sample_outputs
from polytask.tasks import Task, TaskGroup


def sampled(
    members: Sequence[nn.Module],
    groups: Sequence[TaskGroup],
    inputs: Mapping[str, Tensor] | Tensor,
    samples: int,
    serves: Mapping[str, int],
) -> dict[str, Tensor]:
    """Task → raw outputs ``[members · samples, rows, outputs]``, each under its own dropout masks.

    Draws from torch's global generator.

    Args:
        members: Models with dropout.
        groups: Their task groups.
        inputs: Encoded rows.
        samples: Masks per member.
        serves: Task → the one member that predicts it; empty: all of them.
    """
    runs = [sample_outputs(member, inputs, samples) for member in members]
    outputs: dict[str, Tensor] = {}
    for group in groups:
        for place, task in enumerate(group.tasks):
            chosen = [runs[serves[task.name]]] if serves else runs
            outputs[task.name] = torch.cat([run[group.name][:, :, place] for run in chosen])
    return outputs


def spreads(task: Task, outputs: Tensor) -> dict[str, NDArray[Any]]:
    """Standard deviation, over the samples, of every number that the task predicts.

    Args:
        task: Turns raw outputs into values and probabilities.
        outputs: ``[samples, rows, outputs]``.

    Returns:
        Column suffix → ``[rows]``: ``spread`` for the value or the only probability, else
        ``spread_`` and the class or label.

    Example:
        >>> from polytask.tasks import Regression
        >>> task = Regression("y").fit(np.array([0.0, 2.0]))
        >>> spreads(task, torch.tensor([[[0.0]], [[2.0]]]))
        {'spread': array([1.])}
    """
    decoded = [task.predict(sample) for sample in outputs]
    numbers = [key for key, value in decoded[0].items() if value.dtype.kind == "f"]
    return {
        "spread" if len(numbers) == 1 else f"spread_{key.removeprefix('probability_')}": np.stack(
            [one[key] for one in decoded]
        ).std(0)
        for key in numbers
    }
