"""The contract of a penalty: a value, and a proximal step in the optimizer's own metric."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from polytask.errors import Unsupported
from polytask.optim.roles import Selector

from .scratch import Scratch

Acts = Literal["prox", "gradient"]
Layout = Literal["groups", "features", "tasks"]
Metric = Literal["diagonal", "scalar"]


class Penalty(ABC):
    """A term λR(w) on parameters, reported apart from the task losses.

    A penalty sees the weights as *blocks*, matrices that its `layout` describes:

    - ``"groups"``: per parameter ``[groups, members]``; what a group is (an entry, a row, a
      column, a layer) is said by the selector.
    - ``"features"``: one matrix ``[features, outputs of all tasks]`` of the stacked heads.
    - ``"tasks"``: one matrix ``[entries, tasks]`` per set of weights that correspond to each other.
    """

    strength: float
    """λ, at least 0, on the scale of the objective that the optimizer minimises."""

    selector: Selector

    acts: ClassVar[Acts]
    """``"prox"``: after the optimizer's step, never in autograd; ``"gradient"``: added to the
    objective once, after balancing."""

    layout: ClassVar[Layout] = "groups"

    metric: ClassVar[Metric] = "diagonal"
    """What the proximal step is exact for: a step per coordinate (Adam), or one number (SGD)."""

    name: ClassVar[str] = ""
    """What it is called in reports; the class name if empty."""

    @cached_property
    def scratch(self) -> Scratch:
        """Memory that the proximal steps of this penalty reuse."""
        return Scratch()

    @abstractmethod
    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """λR(w) on the weights' device and dtype."""

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """Argmin over w of ½ Σ (w − u)² / step + λR(w), in place.

        Args:
            blocks: The weights u after the optimizer's step; overwritten.
            steps: Per block a number, or a tensor of the block's shape: the optimizer's metric, not
                to be written to; 0 for a block that waits, because the optimizer has not stepped
                all of it yet.
        """
        raise Unsupported(f"{type(self).__name__} acts by its gradient and has no proximal step.")

    @abstractmethod
    def describe(self) -> str:
        """The penalty with its strength, in words for the report."""

    def learned(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> str:
        """What the penalty has found out from the weights, for the report; empty for most."""
        return ""

    def elastic(self) -> tuple[float, float]:
        """Coefficients of ‖w‖₁ and of ½‖w‖² among its terms: what weight decay adds up with."""
        return 0.0, 0.0

    def start(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> None:  # noqa: B027
        """Called once with the weights to which the penalty is bound (start points, vectors)."""

    def columns(self, tasks: Sequence[tuple[str, ...]]) -> None:  # noqa: B027
        """Called once before `start`, layout "tasks" only: the task of each column, per block."""

    def state_dict(self) -> dict[str, Tensor]:
        """What must survive a checkpoint; empty for most."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Takes back what `state_dict` gave."""
