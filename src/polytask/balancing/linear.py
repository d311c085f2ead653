"""Balancers whose weights do not depend on the losses: a weighted mean of the present tasks."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .base import LossBalancer


class LinearBalancer(LossBalancer):
    """Base class of weighted means; a subclass says only how heavy each task is.

    objective = Σ_k w_k L_k / Σ_k w_k over the present tasks; zero if their weights sum to zero.
    The weights are known before the losses, so an update multiplies the sums of the losses by
    them and builds no graph in between.
    """

    guarantees = frozenset(
        {"non-negative-weights", "weights-sum-to-one", "linear-under-scaling", "homogeneous"}
    )
    scale = "mean"
    linear: ClassVar[bool] = True

    @abstractmethod
    def relative(self, counts: Float[Tensor, " tasks"] | None) -> Float[Tensor, " tasks"]:
        """Weights of at least 0, of which only the ratios matter; those of absent tasks are unused.

        Args:
            counts: Sum of row weights behind each loss, as in `forward`.
        """

    def weights(
        self,
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, " tasks"]:
        """Weights that sum to 1 over the present tasks; nothing is read back from the device.

        Args:
            present: Tasks with labels in this update.
            counts: Sum of row weights behind each loss, as in `forward`.
            dtype: Of the losses.
        """
        weights = torch.where(present, self.relative(counts).to(dtype), 0.0)
        return weights / weights.sum().clamp_min(torch.finfo(dtype).tiny)

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The weighted mean over the present tasks."""
        return torch.dot(self.weights(present, counts, losses.dtype), losses)
