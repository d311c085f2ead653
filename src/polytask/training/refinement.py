"""Validation losses after calibration: what is left when sure and unsure are set right."""

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from polytask.data.batch import Batch
from polytask.diagnostics.evaluate import hard
from polytask.regularization.outputs import fit_temperature
from polytask.tasks.base import Task, masked_sums
from polytask.tasks.groups import TaskGroup

LOGITS = ("binary", "multiclass", "multilabel")
"""Kinds of tasks whose outputs are logits."""


@torch.no_grad()
def refined_losses(
    model: nn.Module,
    batches: Iterable[Batch],
    groups: Sequence[TaskGroup],
    losses: Sequence[float | None],
) -> list[float | None]:
    """The losses of an epoch, those of classification tasks after their best temperature.

    A network first learns to tell classes apart, and then becomes too sure; the plain validation
    loss turns up for the second reason while the first still improves. The loss after fitting one
    temperature on the same rows is the part that calibration cannot mend: the epoch is chosen by
    it, and calibrated afterwards.

    Args:
        model: In eval mode or not; the mode is restored.
        batches: Validation rows.
        groups: Task groups.
        losses: Plain validation losses, in the user's order.

    Reference:
        Berta, Holzmüller, Jordan & Bach, Rethinking Early Stopping: Refine, Then Calibrate, 2025.
        https://arxiv.org/abs/2501.19195
    """
    refined = list(losses)
    wanted = [group for group in groups if group.tasks[0].spec.kind in LOGITS]
    if not wanted:
        return refined
    training = model.training
    model.eval()
    try:
        kept = [(batch, model(batch.inputs).outputs) for batch in batches]
    finally:
        model.train(training)
    weights = [b.row_weights for b, _ in kept if b.row_weights is not None]
    row_weights = torch.cat(weights) if weights else None
    for group in wanted:
        logits = torch.cat([outputs[group.name] for _, outputs in kept]).double()
        target = torch.cat([batch.targets[group.name] for batch, _ in kept])
        mask = torch.cat([batch.masks[group.name] for batch, _ in kept])
        for place, (task, index) in enumerate(zip(group.tasks, group.indices, strict=True)):
            if refined[index] is not None:
                refined[index] = fit_temperature(
                    partial(
                        scaled_loss, hard(task), logits[:, place], target[:, place],
                        mask[:, place], row_weights,
                    )
                ).after  # fmt: skip
    return refined


def scaled_loss(
    task: Task,
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    row_weights: Tensor | None,
    temperature: float,
) -> float:
    """Mean loss of logits divided by a temperature.

    Args:
        task: Without label smoothing.
        logits: ``[rows, outputs]``, or ``[rows, members, outputs]`` of an ensemble, whose
            probabilities are averaged after the division.
        target: Encoded labels.
        mask: True where there is a label.
        row_weights: ``[rows]`` or None.
        temperature: The divisor.
    """
    scaled = logits / temperature
    if scaled.ndim == 3:
        scaled = task.average(scaled.transpose(0, 1))
    sums, counts = masked_sums(task.loss(scaled, target), mask, row_weights)
    return float(sums / counts)
