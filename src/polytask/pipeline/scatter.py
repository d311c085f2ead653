"""How far the predictions of a fresh model scatter under dropout masks, for its report."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.config.run import RunConfig
from polytask.export.spread import sampled, spreads
from polytask.sharing import MultiTaskModel
from polytask.training import RandomScope

from .prepare import Prepared

MASKS = 30
MAX_ROWS = 20_000
"""Judged rows above which a report does without it."""


def scatter(
    models: Sequence[MultiTaskModel],
    serves: Mapping[str, int],
    prepared: Prepared,
    run: RunConfig,
) -> dict[str, NDArray[Any]]:
    """Task → standard deviation of its predictions on the judged rows, in the target's unit.

    Only for numeric tasks of plain networks with dropout: the members of an ensemble scatter by
    themselves, and many masks of them would cost more than the training.

    Args:
        models: The models that predict.
        serves: Task → the model that predicts it; empty: all.
        prepared: The table.
        run: Its settings.
    """
    table = next(prepared.tables[part] for part in ("test", "valid", "train") if part in
                 prepared.tables)  # fmt: skip
    drops = run.model.dropout > 0 or run.model.head_dropout > 0
    if run.defence == "linear" or run.model.backbone == "tabm" or not drops:
        return {}
    if len(table.rows) > MAX_ROWS:
        return {}
    device = next(models[0].parameters()).device
    inputs = table.inputs
    moved: Mapping[str, Tensor] | Tensor = (
        inputs.to(device)
        if isinstance(inputs, Tensor)
        else {name: tensor.to(device) for name, tensor in inputs.items()}
    )
    with RandomScope(run.seed, cuda=device.type == "cuda"), torch.no_grad():
        outputs = sampled(models, prepared.groups, moved, MASKS, serves)
    return {
        task.name: spreads(task, outputs[task.name])["spread"]
        for task in prepared.tasks
        if task.spec.kind in ("regression", "count")
    }
