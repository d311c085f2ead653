"""Largest singular values by power iteration, with vectors that go on from step to step."""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor, linalg

from polytask._checks import require

_WARM_UP = 20
Apply = Callable[[Tensor, Tensor], Tensor]


@final
class PowerVectors:
    """One vector per matrix, near the right singular vector of the largest singular value.

    Each call with gradients multiplies the vectors `iterations` times by AᵀA; calls without (for
    reports) leave them as they are. The value ‖A v‖ never exceeds the largest singular value, and
    its gradient is that of uᵀ A v with u = A v/‖A v‖ and v held fixed.

    Args:
        apply: A function of the weight and a vector v: A v.
        transposed: A function of the weight and a vector u: Aᵀ u.
        iterations: Products with AᵀA per call, at least 1.
    """

    def __init__(self, apply: Apply, transposed: Apply, iterations: int) -> None:
        self._apply = apply
        self._transposed = transposed
        self._iterations = iterations
        self._vectors: list[Tensor] = []

    @torch.no_grad()
    def start(self, weights: Sequence[Tensor], sizes: Sequence[int]) -> None:
        """Random vectors of the sizes, the same in every run, and some first iterations."""
        # A generator of its own: binding a penalty changes no other random number.
        generator = torch.Generator().manual_seed(0)
        self._vectors = [
            _unit(torch.randn(size, generator=generator, dtype=torch.float64)).to(weight)
            for weight, size in zip(weights, sizes, strict=True)
        ]
        self._advance(weights, _WARM_UP)

    def largest(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """‖A v‖ per weight, after the iterations if gradients are enabled."""
        self._vectors = [v.to(weight) for v, weight in zip(self._vectors, weights, strict=True)]
        if torch.is_grad_enabled():
            with torch.no_grad():
                self._advance([weight.detach() for weight in weights], self._iterations)
        pairs = zip(weights, self._vectors, strict=True)
        return [linalg.vector_norm(self._apply(weight, v)) for weight, v in pairs]

    def _advance(self, weights: Sequence[Tensor], times: int) -> None:
        for index, weight in enumerate(weights):
            v = self._vectors[index]
            for _ in range(times):
                # Normalised twice, so that no square overflows or vanishes.
                u = _unit(self._apply(weight, v))
                v = _unit(self._transposed(weight, u), otherwise=v)
            self._vectors[index] = v

    def state_dict(self) -> dict[str, Tensor]:
        """The vectors."""
        return {str(index): v for index, v in enumerate(self._vectors)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back the vectors.

        Raises:
            InvalidArgument: If they belong to other weights.
        """
        needed = {key: len(v) for key, v in self.state_dict().items()}
        given = {key: v.numel() for key, v in state.items()}
        require(given == needed, "state", f"hold vectors of the lengths {needed}", given)
        self._vectors = [state[key].to(v) for key, v in self.state_dict().items()]


def _unit(vector: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """The vector with length 1; a zero stays, or is replaced."""
    length = linalg.vector_norm(vector)
    unit = vector / length.masked_fill(length == 0, 1.0)
    return unit if otherwise is None else torch.where(length == 0, otherwise, unit)
