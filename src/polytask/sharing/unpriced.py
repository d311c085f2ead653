"""Layers that need a term in the objective, in a network that adds none: refused."""

from torch import nn

from polytask.backbones import Backbone, HardConcrete
from polytask.backbones.concrete_dropout import ConcreteDropout
from polytask.errors import Unsupported


def has_penalties(backbone: Backbone) -> bool:
    """Whether the backbone says what it adds to the objective."""
    return type(backbone).penalties is not Backbone.penalties


def refuse_learned_dropout(module: nn.Module) -> None:
    """Raises if a module has learned dropout, for places where its term would be left out.

    Args:
        module: A network that does not say what it adds to the objective.

    Raises:
        Unsupported: Its probabilities would fall to 0, without a word.
    """
    if any(isinstance(layer, ConcreteDropout) for layer in module.modules()):
        raise Unsupported(
            f"ConcreteDropout in {type(module).__name__} would be trained without its term, and "
            "its probability would fall to 0. Use a backbone that adds it, such as "
            "MLP(concrete_rows=…) with hard sharing, or a loop of your own."
        )


def refuse_gates(module: nn.Module) -> None:
    """Raises if a module has gates, for places where their price would be left out.

    Args:
        module: A network that does not say what it adds to the objective.

    Raises:
        Unsupported: Without a price no gate would shut, without a word.
    """
    if any(isinstance(layer, HardConcrete) for layer in module.modules()):
        raise Unsupported(
            f"The gates in {type(module).__name__} would be trained without their price, and none "
            "would shut. Use a backbone that adds it, such as MLP(gates=…) in a MultiTaskModel, or "
            "a loop of your own."
        )
