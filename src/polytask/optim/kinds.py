"""What each parameter of a module does, read from the type of the layer that owns it."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import nn

from .roles import Kind

_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@runtime_checkable
class DeclaresKinds(Protocol):
    """A module that says itself what its own parameters do."""

    def parameter_kinds(self) -> Mapping[str, Kind]:
        """Local name of each own parameter → its kind."""


def parameter_kinds(module: nn.Module) -> dict[str, Kind]:
    """The kind of every parameter of `module`, by qualified name; tied parameters once.

    A module that has `parameter_kinds` declares its own parameters. Otherwise the layer's type
    decides: normalisation layers own NORM, embeddings own EMBEDDING. Any other parameter is a
    WEIGHT with two dimensions or more, a BIAS with one, a SCALAR with none. Names decide nothing.

    Args:
        module: Any module.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        >>> [str(kind) for kind in parameter_kinds(net).values()]
        ['weight', 'bias', 'norm', 'norm']
    """
    kinds: dict[str, Kind] = {}
    seen: set[int] = set()
    for prefix, owner in module.named_modules():
        declared = owner.parameter_kinds() if isinstance(owner, DeclaresKinds) else {}
        for name, parameter in owner.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            kind = declared.get(name) or _kind_of(owner, parameter)
            kinds[f"{prefix}.{name}" if prefix else name] = kind
    return kinds


def _kind_of(owner: nn.Module, parameter: nn.Parameter) -> Kind:
    if isinstance(owner, _NORMS):
        return Kind.NORM
    if isinstance(owner, _EMBEDDINGS):
        return Kind.EMBEDDING
    if parameter.ndim >= 2:
        return Kind.WEIGHT
    return Kind.BIAS if parameter.ndim == 1 else Kind.SCALAR
