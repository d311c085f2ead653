"""The squared distances between tasks that a graph joins, and their proximal step."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from .quadratic import Quadratic
from .task_mean import pull_to_mean_, spread


@final
class Coupling:
    """½ Σ_{s<t} a_st ‖w_s − w_t‖² = ½ tr(W L Wᵀ), with L the Laplacian of the weights a.

    The proximal step is that of the quadratic form, except if all edges are equal: then it is the
    pull to the mean, in closed form for every metric.

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
        self._form = Quadratic(weights.sum(dim=1).diag() - weights)

    def energy(self, block: Float[Tensor, "entries tasks"]) -> Float[Tensor, ""]:
        """½ tr(W L Wᵀ); a sum of squares, never below 0."""
        if self._uniform is not None:
            return self._uniform * spread(block)
        return self._form.energy(block)

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
        else:
            self._form.prox_(block, step, strength)
