"""Monte-Carlo dropout: predictions under many dropout masks, whose spread shows uncertainty."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask._checks import at_least, require
from polytask.backbones.concrete_dropout import ConcreteDropout
from polytask.data.batch import Inputs

from .layers import dropout_attribute


class Outputs(Protocol):
    """What a multi-task model returns, as far as it matters here."""

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Raw outputs of every task group, ``[rows, k, outputs]``."""


@contextmanager
def mc_dropout(model: nn.Module) -> Iterator[None]:
    """Inside, dropout is on and everything else is in evaluation mode.

    Normalisation keeps its running statistics, members of an ensemble are averaged, and
    stochastic depth and DropConnect are off. The modes of all modules are put back at the end,
    after errors too.

    Args:
        model: Any model with dropout: layers, or modules with dropout of their own (heads with a
            mask each, attention).

    Raises:
        InvalidArgument: If the model has no dropout: all masks would give the same outputs, and
            look like certainty.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))
        >>> with mc_dropout(model):
        ...     [module.training for module in model]
        [False, True]
        >>> [module.training for module in model]
        [True, True]

    Reference:
        Gal & Ghahramani, Dropout as a Bayesian Approximation: Representing Model Uncertainty in
        Deep Learning, ICML 2016. https://arxiv.org/abs/1506.02142
    """
    random = [module for module in model.modules() if _drops(module)]
    require(len(random) > 0, "model", "have dropout above 0", type(model).__name__)
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        for module in random:
            # Not `train()`: that would reach the children, which may hold normalisation.
            module.training = True
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def sample_outputs(
    model: nn.Module, inputs: Inputs, samples: int
) -> dict[str, Float[Tensor, "samples rows k outputs"]]:
    """Raw outputs under several dropout masks; draws from torch's global generator.

    Args:
        model: A multi-task model with dropout; its modes are as before afterwards.
        inputs: Encoded rows.
        samples: Number of masks, at least 1; 20 to 100 is usual.

    Returns:
        Per task group. Average what the task decodes (probabilities, values), not logits.

    Raises:
        InvalidArgument: If `samples` is below 1, or the model has no dropout.

    Example:
        >>> import numpy as np
        >>> from polytask.backbones import MLP
        >>> from polytask.sharing import MultiTaskModel
        >>> from polytask.tasks import Regression
        >>> task = Regression("a").fit(np.arange(4.0))
        >>> model = MultiTaskModel.hard(MLP(3, width=64, depth=1, dropout=0.2), [task])
        >>> tuple(sample_outputs(model, torch.zeros(5, 3), samples=7)["a"].shape)
        (7, 5, 1, 1)
    """
    at_least("samples", samples, 1)
    forward: Callable[[Inputs], Outputs] = model
    with mc_dropout(model):
        drawn = [forward(inputs).outputs for _ in range(samples)]
    return {name: torch.stack([outputs[name] for outputs in drawn]) for name in drawn[0]}


def has_dropout(model: nn.Module) -> bool:
    """Whether `mc_dropout` can be entered with a model.

    Example:
        >>> has_dropout(nn.Linear(1, 1)), has_dropout(nn.Sequential(nn.Dropout(0.5)))
        (False, True)
    """
    return any(map(_drops, model.modules()))


def _drops(module: nn.Module) -> bool:
    if isinstance(module, ConcreteDropout):
        return True
    attribute = dropout_attribute(module)
    return attribute is not None and float(getattr(module, attribute)) > 0
