"""Temperatures of the classification tasks, fitted on validation rows and put into the heads."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch

from polytask.data import Batch
from polytask.diagnostics.evaluate import hard
from polytask.regularization.outputs.temperature import Temperature, fit_temperature
from polytask.sharing import MultiTaskModel
from polytask.training.refinement import LOGITS, scaled_loss


@torch.no_grad()
def calibrate(model: MultiTaskModel, valid: Batch, tasks: Sequence[str]) -> dict[str, Temperature]:
    """Divides the logits of every classification task by its temperature.

    Weight and bias of a head divided by T divide its logits, exactly: nothing else needs to know,
    and the order of the classes stays. The members of an ensemble are divided before their
    probabilities are averaged. Tasks whose labels do not determine T are left as they are.

    Args:
        model: In eval mode; its heads are changed.
        valid: Validation rows on the model's device.
        tasks: Names of the tasks to look at.

    Returns:
        Task → its temperature, for the tasks that were changed.
    """
    found: dict[str, Temperature] = {}
    features = model.backbone(valid.inputs)
    raw = model.heads(model.sharing(features))
    for group in model.heads.groups:
        for place, task in enumerate(group.tasks):
            if task.name not in tasks or task.spec.kind not in LOGITS:
                continue
            mask = valid.masks[group.name][:, place]
            if not bool(mask.any()):
                continue
            logits = raw[group.name].select(-2, place).double()
            target = valid.targets[group.name][:, place]
            temperature = fit_temperature(
                partial(scaled_loss, hard(task), logits, target, mask, valid.row_weights)
            )
            if temperature.bounded:
                continue
            found[task.name] = temperature
    divide(model, {name: temperature.value for name, temperature in found.items()})
    return found


@torch.no_grad()
def divide(model: MultiTaskModel, temperatures: Mapping[str, float]) -> None:
    """Divides the logits of some tasks, by dividing their heads.

    Args:
        model: Its heads are changed.
        temperatures: Task → divisor.
    """
    for task, temperature in temperatures.items():
        for tensor in model.heads.of(task):
            tensor.div_(temperature)
