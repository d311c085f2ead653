"""Layers that stretch no direction much (spectral norm)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .power_iteration import PowerVectors
from .select import layers
from .soft import total


@final
@dataclass(eq=False)
class Spectral(Penalty):
    """(λ/2) Σ_layers σ(W)²: a small change of the input changes the output little.

    σ(W) is the largest singular value of a layer's weight, ``[outputs, inputs]``, found by power
    iteration that goes on from step to step. Unlike ridge it leaves the other directions alone. It
    acts by its gradient.

    Args:
        strength: λ, at least 0; 0.01 is usual.
        selector: Which weights; default: backbone, trunk and experts. Its `group` has no effect.
        iterations: Power iterations per step, at least 1; the more, the nearer σ.

    Raises:
        InvalidArgument: If `strength` is negative or `iterations` below 1.

    Example:
        >>> import torch
        >>> weight = torch.diag(torch.tensor([2.0, 0.5]))
        >>> penalty = Spectral(1.0)
        >>> penalty.start([weight])
        >>> round(float(penalty.value([weight])), 4)
        2.0

    Note:
        The value is a lower bound that the iterations raise. For a convolution σ is that of the
        matrix ``[output channels, input channels · kernel]``, not of the map between images.

    Reference:
        Yoshida & Miyato, Spectral Norm Regularization for Improving the Generalizability of Deep
        Learning, 2017. https://arxiv.org/abs/1705.10941
    """

    strength: float
    selector: Selector = field(default_factory=layers)
    iterations: int = 1

    acts: ClassVar[Acts] = "gradient"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        at_least("iterations", self.iterations, 1)
        self.selector = replace(self.selector, group="row")
        self._vectors = PowerVectors(torch.mv, _transposed, self.iterations)

    def start(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> None:
        """Finds the vectors of the first step."""
        self._vectors.start(blocks, [block.shape[1] for block in blocks])

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """(λ/2) Σ σ(W)²."""
        return self.strength / 2 * total([s.square() for s in self._vectors.largest(blocks)])

    def describe(self) -> str:
        """In words, with λ."""
        return f"spectral norm, λ = {self.strength:g}: (λ/2) Σ σ(W)²"

    def state_dict(self) -> dict[str, Tensor]:
        """The vectors of the power iteration."""
        return self._vectors.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back the vectors."""
        self._vectors.load_state_dict(state)


def _transposed(weight: Tensor, vector: Tensor) -> Tensor:
    return torch.mv(weight.mT, vector)
