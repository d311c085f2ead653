"""The layers that backbones choose by name, and what is checked about their sizes."""

import warnings
from collections.abc import Callable
from typing import final

from torch import Tensor, nn
from torch.nn.functional import batch_norm

from polytask._checks import at_least, one_of, positive, probability, require
from polytask.errors import PolytaskWarning

from .base import Mix
from .concrete_dropout import ConcreteDropout
from .dropout import Dropout, dropout

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
}


@final
class BatchNorm(nn.Module):
    """Batch normalisation that can train on a single row.

    The last batch of an epoch may hold one row, which has no variance: it is normalised with the
    running statistics, as in evaluation, and does not move them.

    Args:
        width: Number of features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, features: Tensor) -> Tensor:
        """``[rows, width]`` to the same shape."""
        norm = self.norm
        if self.training and len(features) == 1:
            mean, variance = norm.running_mean, norm.running_var
            return batch_norm(features, mean, variance, norm.weight, norm.bias, eps=norm.eps)
        normalised: Tensor = norm(features)
        return normalised


@final
class DropPath(nn.Module):
    """Stochastic depth: drops a whole residual branch, for every sample on its own.

    y_i = m_i x_i / (1 − p) with m_i ~ Bernoulli(1 − p) while training, y = x in evaluation.

    Args:
        p: Probability of dropping the branch of a sample, in [0, 1).

    Shapes:
        branch: ``[rows, …]``, to the same shape.

    Raises:
        InvalidArgument: If `p` is out of range.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> sorted(set(DropPath(0.5)(torch.ones(8, 2)).sum(1).tolist()))
        [0.0, 4.0]

    Reference:
        Huang, Sun, Liu, Sedra & Weinberger, Deep Networks with Stochastic Depth, ECCV 2016.
        https://arxiv.org/abs/1603.09382
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        probability("drop_path", p)
        self.p = p

    def forward(self, branch: Tensor) -> Tensor:
        """The branch of some samples, scaled; zeros for the others."""
        if not self.training or self.p == 0:
            return branch
        ones = branch.new_ones((len(branch),) + (1,) * (branch.ndim - 1))
        return branch * dropout(ones, self.p)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p:g}"


_NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda _: nn.Identity(),
    "layer": nn.LayerNorm,
    "batch": BatchNorm,
}
_HANDFUL = 5


def activation(name: str) -> nn.Module:
    """A new activation layer.

    Args:
        name: ``"relu"``, ``"gelu"``, ``"silu"``, ``"mish"``, ``"selu"`` or ``"tanh"``.

    Example:
        >>> activation("mish")
        Mish()
    """
    one_of("activation", name, _ACTIVATIONS)
    return _ACTIVATIONS[name]()


def normalization(name: str, width: int) -> nn.Module:
    """A new normalisation layer.

    Args:
        name: ``"none"``, ``"layer"`` or ``"batch"``.
        width: Number of features that it normalises.

    Example:
        >>> normalization("layer", 8).normalized_shape
        (8,)
    """
    one_of("normalization", name, _NORMALIZATIONS)
    return _NORMALIZATIONS[name](width)


def check_sizes(width: int, depth: int, dropout: float) -> None:
    """Requires sane sizes, and warns when dropout leaves next to nothing.

    Args:
        width: Units per layer.
        depth: Layers or blocks.
        dropout: Probability of dropping a unit.
    """
    require(width >= 1, "width", "be at least 1", width)
    require(depth >= 1, "depth", "be at least 1", depth)
    probability("dropout", dropout)
    kept = width * (1.0 - dropout)
    if dropout > 0 and kept < _HANDFUL:
        warnings.warn(
            f"Dropout {dropout:g} on layers of {width} units leaves {kept:.3g} units on average: "
            "that destroys capacity. Use a wider layer or dropout 0.",
            PolytaskWarning,
            stacklevel=3,
        )


def dropout_layer(p: float, learned: bool) -> nn.Module:
    """A new dropout layer.

    Args:
        p: Its probability.
        learned: Whether p is only where it begins (`ConcreteDropout`).

    Example:
        >>> dropout_layer(0.1, learned=False)
        Dropout(p=0.1, inplace=False)
    """
    return ConcreteDropout(p) if learned else Dropout(p)


def check_learned(dropout: float, rows: int, length_scale: float) -> None:
    """Requires what learned dropout needs.

    Args:
        dropout: Where the probabilities begin.
        rows: Training rows; 0 if the probabilities are not learned.
        length_scale: Of the prior of the weights.
    """
    at_least("concrete_rows", rows, 0)
    positive("length_scale", length_scale)
    if rows:
        require(dropout > 0, "dropout", "be above 0 to be learned", dropout)


def present(layers: list[nn.Module]) -> nn.Sequential:
    """The layers in order, without those that do nothing (no normalisation, p = 0).

    Args:
        layers: Any layers.
    """
    return nn.Sequential(
        *(
            layer
            for layer in layers
            if not isinstance(layer, nn.Identity)
            and not (isinstance(layer, (nn.Dropout, DropPath)) and layer.p == 0)
        )
    )


def through(
    layers: nn.Sequential, hidden: Tensor, mix: Mix | None, starts: type[nn.Module]
) -> Tensor:
    """Runs layers in order, and hands what stands before each further `starts` to `mix`.

    Args:
        layers: Blocks, one after the other.
        hidden: What goes in.
        mix: Gets the number of the block, from 1, and its output; None: nothing is handed out.
        starts: Type of the first layer of every block.

    Example:
        >>> import torch
        >>> layers = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
        >>> seen = []
        >>> def mix(number, hidden):
        ...     seen.append(number)
        ...     return hidden
        >>> _ = through(layers, torch.zeros(1, 1), mix, nn.Linear)
        >>> seen
        [1, 2]
    """
    if mix is None:
        done: Tensor = layers(hidden)
        return done
    number = 0
    for layer in layers:
        if isinstance(layer, starts):
            hidden = mix(number, hidden) if number else hidden
            number += 1
        hidden = layer(hidden)
    return mix(number, hidden)
