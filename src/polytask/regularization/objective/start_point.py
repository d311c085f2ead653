"""Weights near the point where they started (L2-SP)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from polytask._checks import at_least, require
from polytask.optim.roles import Selector

from .base import Acts, Penalty
from .soft import total


@final
@dataclass(eq=False)
class StartPoint(Penalty):
    """(λ/2) ‖w − w₀‖²: fine-tuning that does not forget (L2-SP).

    w₀ are the weights at binding, for instance those of a pretrained backbone. They are part of
    the state, so that a resumed run keeps the start of the first one. The proximal step is
    (u + λ s w₀) / (1 + λ s), with s the optimizer's step, exact for SGD and Adam.

    Args:
        strength: λ, at least 0, on the scale of the objective; 0.01 to 0.1 is usual.
        selector: Which weights; usually those that were pretrained.
        origin: w₀, one tensor per selected parameter in the model's order, of its shape; None for
            the weights at binding.

    Raises:
        InvalidArgument: If `strength` is negative; at binding, if `origin` does not fit.

    Example:
        >>> import torch
        >>> penalty = StartPoint(1.0)
        >>> penalty.start([torch.tensor([[4.0]])])
        >>> weights = torch.tensor([[2.0]])
        >>> float(penalty.value([weights]))
        2.0
        >>> penalty.prox_([weights], [1.0])
        >>> weights.tolist()
        [[3.0]]

    Note:
        Weight decay on the same weights pulls to 0 besides; give new heads the decay, and
        pretrained weights this penalty.

    Reference:
        Li, Grandvalet & Davoine, Explicit Inductive Bias for Transfer Learning with Convolutional
        Networks, ICML 2018. https://arxiv.org/abs/1802.01483
    """

    strength: float
    selector: Selector = field(default_factory=Selector)
    origin: Sequence[Tensor] | None = None

    acts: ClassVar[Acts] = "prox"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        require(
            self.origin is None or self.selector.group in ("entry", "row", "layer"),
            "selector.group",
            "be 'entry' when `origin` is given",
            self.selector.group,
        )
        self._start: list[Tensor] = []

    def start(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> None:
        """Keeps w₀."""
        if self.origin is None:
            self._start = [block.detach().clone() for block in blocks]
            return
        given, needed = [w.numel() for w in self.origin], [block.numel() for block in blocks]
        require(
            given == needed,
            "origin",
            f"hold one tensor per selected parameter, of {needed} entries",
            given,
        )
        self._start = [
            # A copy, because the caller may go on with the tensor that was given.
            tensor.detach().clone().reshape(block.shape).to(block)
            for tensor, block in zip(self.origin, blocks, strict=True)
        ]

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """(λ/2) ‖w − w₀‖²."""
        pairs = zip(blocks, self._near(blocks), strict=True)
        return self.strength / 2 * total([(w - w0).square().sum() for w, w0 in pairs])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """Moves u towards w₀ by λ s / (1 + λ s) of the way."""
        for block, start, step in zip(blocks, self._near(blocks), steps, strict=True):
            scaled = step * self.strength
            block.lerp_(start, scaled / (1 + scaled))

    def _near(self, blocks: Sequence[Tensor]) -> list[Tensor]:
        """w₀ where the weights are: the model may have moved since."""
        self._start = [start.to(block) for start, block in zip(self._start, blocks, strict=True)]
        return self._start

    def describe(self) -> str:
        """In words, with λ."""
        return f"start point (L2-SP): ({self.strength:g}/2) ‖w − w_start‖²"

    def state_dict(self) -> dict[str, Tensor]:
        """w₀ per block."""
        return {str(index): start for index, start in enumerate(self._start)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back w₀.

        Raises:
            InvalidArgument: If it belongs to other weights.
        """
        needed = {key: tuple(start.shape) for key, start in self.state_dict().items()}
        given = {key: tuple(start.shape) for key, start in state.items()}
        require(given == needed, "state", f"hold start points of the shapes {needed}", given)
        self._start = [state[key].to(old) for key, old in self.state_dict().items()]
