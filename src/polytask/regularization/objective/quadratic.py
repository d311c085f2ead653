"""A quadratic form across tasks, and its proximal step."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, linalg

_ENTRIES = 1 << 21


@final
class Quadratic:
    """½ tr(W M Wᵀ) with a symmetric matrix M without negative eigenvalues, one row per task.

    The proximal step with strength r and steps s solves (I + r diag(s) M) w = u in each row. For
    one step the eigenvectors of M solve it for every row and rate at once; in a metric per entry
    there is one small system per row.

    Args:
        matrix: M, ``[tasks, tasks]``.

    Example:
        >>> form = Quadratic(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
        >>> float(form.energy(torch.tensor([[1.0, 1.0]])))
        3.0
    """

    def __init__(self, matrix: Float[Tensor, "tasks tasks"]) -> None:
        self._matrix: Tensor = matrix.detach().to("cpu", torch.float64)
        values, self._vectors = linalg.eigh(self._matrix)
        self._values: Tensor = values.clamp_min(0)
        self._root: Tensor = self._vectors * self._values.sqrt()
        self._inverse: tuple[float, Tensor] | None = None

    def energy(self, block: Float[Tensor, "entries tasks"]) -> Float[Tensor, ""]:
        """½ tr(W M Wᵀ); a sum of squares, never below 0."""
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
        if isinstance(step, Tensor):
            rows = max(1, _ENTRIES // block.shape[1] ** 2)
            parts = zip(torch.split(block, rows), torch.split(step, rows), strict=True)
            for part, metric in parts:
                self._solve_(part, metric, strength)
        elif step > 0:
            block.copy_(block @ self._inverse_of(strength * step, block))

    def _inverse_of(self, scaled: float, like: Tensor) -> Tensor:
        """(I + r s M)⁻¹, kept while the rate stays."""
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
        # w = u − S½ z with (I + r S½ M S½) z = r S½ M u: positive definite for every s, and
        # scaled by it. Float64, because steps reach rate/ε where the gradient vanishes.
        self._matrix = self._matrix.to(block.device)
        root = step.double().sqrt()
        right = strength * root * (block.double() @ self._matrix)
        system = strength * root.unsqueeze(2) * self._matrix * root.unsqueeze(1)
        system.diagonal(dim1=1, dim2=2).add_(1)
        factor, _ = linalg.cholesky_ex(system)
        solution = torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2)
        block.sub_((root * solution).to(block.dtype))
