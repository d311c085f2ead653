"""The squared distances between tasks that a graph joins, and their proximal step."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, linalg

from .task_mean import pull_to_mean_, spread

_ENTRIES = 1 << 21


@final
class Coupling:
    """½ Σ_{s<t} a_st ‖w_s − w_t‖² = ½ tr(W L Wᵀ), with L the Laplacian of the weights a.

    The proximal step with strength r and steps s solves (I + r diag(s) L) w = u in each row. For
    one step the eigenvectors of L solve it for every row and rate at once; in a metric per entry
    there is one small system per row, except if all edges are equal: then it is the pull to the
    mean.

    Args:
        weights: a, ``[tasks, tasks]``, symmetric, at least 0; its diagonal has no effect.

    Example:
        >>> coupling = Coupling(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        >>> float(coupling.energy(torch.tensor([[1.0, 3.0]])))
        2.0
    """

    def __init__(self, weights: Float[Tensor, "tasks tasks"]) -> None:
        weights = weights.detach().to("cpu", torch.float64)
        tasks = len(weights)
        apart = weights[~torch.eye(tasks, dtype=torch.bool)]
        self._uniform = float(apart[0]) * tasks if bool((apart == apart[0]).all()) else None
        # The diagonal cancels.
        self._laplacian: Tensor = weights.sum(dim=1).diag() - weights
        values, self._vectors = linalg.eigh(self._laplacian)
        self._values: Tensor = values.clamp_min(0)
        self._root: Tensor = self._vectors * self._values.sqrt()
        self._inverse: tuple[float, Tensor] | None = None

    def energy(self, block: Float[Tensor, "entries tasks"]) -> Float[Tensor, ""]:
        """½ tr(W L Wᵀ); a sum of squares, never below 0."""
        if self._uniform is not None:
            return self._uniform * spread(block)
        self._root = self._root.to(block.device)
        joined: Tensor = block @ self._root.to(block.dtype)
        return joined.square().sum() / 2

    def prox_(
        self, block: Float[Tensor, "entries tasks"], step: Tensor | float, strength: float
    ) -> None:
        """Argmin over w of ½ Σ (w − u)² / s + r · energy(w), in place.

        Args:
            block: u, one column per task; overwritten by w.
            step: s, a number or of the block's shape; at least 0.
            strength: r, at least 0.
        """
        if self._uniform is not None:
            pull_to_mean_(block, step, strength * self._uniform)
        elif isinstance(step, Tensor):
            rows = max(1, _ENTRIES // block.shape[1] ** 2)
            parts = zip(torch.split(block, rows), torch.split(step, rows), strict=True)
            for part, metric in parts:
                self._solve_(part, metric, strength)
        elif step > 0:
            block.copy_(block @ self._inverse_of(strength * step, block))

    def _inverse_of(self, scaled: float, like: Tensor) -> Tensor:
        """(I + r s L)⁻¹, kept while the rate stays."""
        kept = self._inverse
        if (
            kept is None
            or kept[0] != scaled
            or kept[1].dtype != like.dtype
            or kept[1].device != like.device
        ):
            inverse = (self._vectors / (1 + scaled * self._values)) @ self._vectors.mT
            kept = self._inverse = (scaled, inverse.to(like))
        return kept[1]

    def _solve_(self, block: Tensor, step: Tensor, strength: float) -> None:
        # w = u − S½ z with (I + r S½ L S½) z = r S½ L u: positive definite for every s, and
        # scaled by it. Float64, because steps reach rate/ε where the gradient vanishes.
        self._laplacian = self._laplacian.to(block.device)
        root = step.double().sqrt()
        right = strength * root * (block.double() @ self._laplacian)
        system = strength * root.unsqueeze(2) * self._laplacian * root.unsqueeze(1)
        system.diagonal(dim1=1, dim2=2).add_(1)
        factor, _ = linalg.cholesky_ex(system)
        solution = torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2)
        block.sub_((root * solution).to(block.dtype))
