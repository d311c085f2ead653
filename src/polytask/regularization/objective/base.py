"""The contract of a penalty: a value, and a proximal step in the optimizer's own metric."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from polytask.optim.roles import Selector


class Penalty(ABC):
    """A term λR(w) on parameters, reported apart from the task losses."""

    strength: float
    selector: Selector
    acts: ClassVar[Literal["prox", "gradient"]]
    """``"prox"``: never in autograd; ``"gradient"``: added once, after balancing."""

    @abstractmethod
    def value(self, weights: Sequence[Tensor]) -> Float[Tensor, ""]:
        """λR(w) on the weights' device and dtype."""

    @abstractmethod
    def prox_(self, weights: Sequence[Tensor], steps: Sequence[Tensor | float]) -> None:
        """Argmin over w of ½ Σ (w − u)² / step + λR(w), in place."""
