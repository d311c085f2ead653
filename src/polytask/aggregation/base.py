"""The contracts of gradient aggregation: a Gramian or a Jacobian in, weights or an update out."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn


class GramianAggregator(nn.Module, ABC):
    """Task weights from the inner products of the task gradients."""

    needs: ClassVar[Literal["norms", "gramian", "cross"]] = "gramian"
    """What the engine must compute: the diagonal, the Gramian, or that of two mini-batches."""

    @abstractmethod
    def forward(
        self,
        gramian: Float[Tensor, "tasks tasks"],
        losses: Float[Tensor, " tasks"] | None = None,
        present: Bool[Tensor, " tasks"] | None = None,
    ) -> Float[Tensor, " tasks"]:
        """Gramian of the task gradients → task weights; the update is Σ weight · gradient."""


class GradientAggregator(nn.Module, ABC):
    """The update from the coordinates of the task gradients."""

    @abstractmethod
    def forward(
        self,
        jacobian: Float[Tensor, "tasks params"],
        losses: Float[Tensor, " tasks"] | None = None,
        present: Bool[Tensor, " tasks"] | None = None,
    ) -> Float[Tensor, " params"]:
        """One gradient per row → the update."""
