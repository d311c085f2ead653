"""A model as JSON values, and back: classes come from a table in this file, never from the file."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from polytask._checks import unknown
from polytask.backbones import MLP, Backbone, Identity, L0Gates, ResidualMLP, TabM
from polytask.errors import CorruptFile, PolytaskWarning
from polytask.sharing import HardSharing, MultiTaskModel
from polytask.tasks import TaskGroup

BACKBONES: dict[str, type[MLP] | type[ResidualMLP] | type[TabM] | type[Identity]] = {
    "mlp": MLP,
    "residual-mlp": ResidualMLP,
    "tabm": TabM,
    "identity": Identity,
}
"""Every backbone that a bundle can name."""

OWN = "own"
"""Name of the backbone in a bundle of a user's own module."""


def describe_architecture(model: nn.Module) -> dict[str, Any]:
    """JSON values from which `build_model` makes the model, or ``{"backbone": "own"}``.

    Args:
        model: Any model that a bundle can hold.

    Example:
        >>> describe_architecture(nn.Linear(2, 1))
        {'backbone': 'own'}
    """
    if not isinstance(model, MultiTaskModel) or not isinstance(model.sharing, HardSharing):
        return {"backbone": OWN}
    backbone = model.backbone
    if not isinstance(backbone, Backbone) or backbone.architecture is None:
        return {"backbone": OWN}
    private = {"head_dropout": model.head_dropout} if model.head_dropout else {}
    samples = {"dropout_samples": model.dropout_samples} if model.dropout_samples > 1 else {}
    return {"sharing": "hard", **private, **samples, **backbone.architecture}


def build_model(architecture: Mapping[str, Any], groups: Sequence[TaskGroup]) -> MultiTaskModel:
    """An untrained model of the described architecture; the global random state is not moved.

    Args:
        architecture: What `describe_architecture` returned, not of a user's own module.
        groups: Its task groups.

    Raises:
        CorruptFile: If it names a sharing or a backbone that does not exist.
    """
    arguments = dict(architecture)
    sharing, name = arguments.pop("sharing"), arguments.pop("backbone")
    head_dropout = arguments.pop("head_dropout", 0.0)
    samples = arguments.pop("dropout_samples", 1)
    if sharing != "hard":
        raise unknown("sharing", str(sharing), ["hard"], CorruptFile)
    if name not in BACKBONES:
        raise unknown("backbone", str(name), BACKBONES, CorruptFile)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Advice on sizes was given when the model was trained.
        warnings.simplefilter("ignore", PolytaskWarning)
        if "gates" in arguments:
            arguments["gates"] = L0Gates(**arguments["gates"])
        backbone = BACKBONES[name](**arguments)
        tasks = [task.name for group in groups for task in group.tasks]
        sharing = HardSharing(tasks, backbone.width)
        return MultiTaskModel(
            backbone, sharing, groups, head_dropout=head_dropout, dropout_samples=samples
        )
