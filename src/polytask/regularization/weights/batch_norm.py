"""Running statistics of normalisation layers, measured anew for averaged weights."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from polytask.data.batch import Batch


@torch.no_grad()
def update_batch_norm(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Replaces running means and variances by those of the model's present weights.

    One pass over the batches in train mode with dropout off, each batch weighing the same; modes
    and momentum are given back. Without batch normalisation nothing is run.

    Args:
        model: Takes the inputs of a batch.
        batches: Training rows.

    Reference:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, UAI
        2018, section 3.2. https://arxiv.org/abs/1803.05407
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    modes = [(module, module.training) for module in model.modules()]
    momenta = [(norm, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
    for module in model.modules():
        # Dropout stays off; a layer around a normalisation asks its own mode.
        module.training = module in norms or any(child in norms for child in module.children())
    try:
        for batch in batches:
            model(batch.inputs)
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
