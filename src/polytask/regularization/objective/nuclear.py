"""The nuclear norm of the weights of all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import at_least
from polytask.errors import Unsupported
from polytask.optim.roles import Selector

from .base import Acts, Layout, Metric, Penalty
from .select import heads
from .soft import total


@final
@dataclass(eq=False)
class Nuclear(Penalty):
    """λ Σ_j σ_j(W): the tasks' weights lie in a space of few dimensions.

    W holds the weights of all tasks, ``[features, outputs of all tasks]``; σ_j are its singular
    values. The proximal step subtracts λt from each of them, down to 0. It needs one number t for
    the whole matrix, so the optimizer must be SGD: in Adam's metric, a step per entry, there is
    no closed form.

    Args:
        strength: λ, at least 0, on the scale of the objective.
        selector: Which weights; default: the heads of all tasks. They must read features of the
            same number.

    Raises:
        InvalidArgument: If `strength` is negative.

    Example:
        >>> import torch
        >>> weights = torch.diag(torch.tensor([3.0, 0.5]))
        >>> Nuclear(1.0).prox_([weights], [1.0])
        >>> [round(w, 6) for w in weights.flatten().abs().tolist()]
        [2.0, 0.0, 0.0, 0.0]

    Reference:
        Cai, Candès & Shen, A Singular Value Thresholding Algorithm for Matrix Completion, SIAM
        Journal on Optimization, 2010. https://doi.org/10.1137/080738970
    """

    strength: float
    selector: Selector = field(default_factory=heads)

    acts: ClassVar[Acts] = "prox"
    layout: ClassVar[Layout] = "features"
    metric: ClassVar[Metric] = "scalar"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)

    def value(self, blocks: Sequence[Float[Tensor, "groups members"]]) -> Float[Tensor, ""]:
        """λ Σ σ_j."""
        return self.strength * total([linalg.svdvals(block).sum() for block in blocks])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "groups members"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The soft threshold on the singular values.

        Raises:
            Unsupported: If a step is given per entry.
        """
        for block, step in zip(blocks, steps, strict=True):
            if isinstance(step, Tensor):
                raise Unsupported(
                    "Nuclear needs one step for the whole matrix; got one per entry. Use SGD, with "
                    "the same learning rate for all heads."
                )
            left, sizes, right = linalg.svd(block, full_matrices=False)
            sizes = (sizes - self.strength * step).clamp_min_(0)
            block.copy_((left * sizes) @ right)

    def describe(self) -> str:
        """In words, with λ."""
        return f"nuclear norm across tasks, λ = {self.strength:g}: λ Σ σ(W)"
