"""Weights near orthonormal in their worst direction (SRIP)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

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
class SRIP(Penalty):
    """λ Σ_layers σ(WᵀW − I): the largest |σ_j(W)² − 1| of every layer is small.

    W is a layer's weight, ``[outputs, inputs]``, transposed if it has fewer outputs than inputs;
    σ is the spectral norm, found by power iteration that goes on from step to step, without the
    Gram matrix. It acts by its gradient.

    Args:
        strength: λ, at least 0.
        selector: Which weights; default: backbone, trunk and experts. Its `group` has no effect.
        iterations: Power iterations per step, at least 1; the more, the nearer σ.

    Raises:
        InvalidArgument: If `strength` is negative or `iterations` below 1.

    Example:
        >>> import torch
        >>> weight = torch.diag(torch.tensor([2.0, 0.5]))
        >>> penalty = SRIP(1.0)
        >>> penalty.start([weight])
        >>> round(float(penalty.value([weight])), 4)
        3.0

    Note:
        The value is a lower bound of λσ that the iterations raise. The authors' code squares σ;
        the paper and this class do not.

    Reference:
        Bansal, Chen & Wang, Can We Gain More from Orthogonality Regularizations in Training Deep
        CNNs?, NeurIPS 2018. https://arxiv.org/abs/1810.09102
    """

    strength: float
    selector: Selector = field(default_factory=layers)
    iterations: int = 2

    acts: ClassVar[Acts] = "gradient"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        at_least("iterations", self.iterations, 1)
        self.selector = replace(self.selector, group="row")
        # The matrix is symmetric.
        self._vectors = PowerVectors(_excess, _excess, self.iterations)

    def start(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> None:
        """Finds the vectors of the first step."""
        self._vectors.start(blocks, [min(block.shape) for block in blocks])

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """λ Σ σ(WᵀW − I)."""
        return self.strength * total(self._vectors.largest(blocks))

    def describe(self) -> str:
        """In words, with λ."""
        return f"spectral orthogonality (SRIP), λ = {self.strength:g}: λ Σ σ(WᵀW − I)"

    def state_dict(self) -> dict[str, Tensor]:
        """The vectors of the power iteration."""
        return self._vectors.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back the vectors."""
        self._vectors.load_state_dict(state)


def _excess(weight: Tensor, vector: Tensor) -> Tensor:
    """(WᵀW − I) v, of the smaller Gram matrix."""
    tall = weight.mT if weight.shape[0] < weight.shape[1] else weight
    return tall.mT @ (tall @ vector) - vector
