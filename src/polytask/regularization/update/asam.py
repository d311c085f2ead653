"""ASAM: SAM with a radius that every weight measures in units of itself."""

from collections.abc import Iterable, Sequence
from typing import final

import torch
from torch import Tensor, nn

from polytask._checks import at_least
from polytask.optim.roles import Kind, ParameterInfo

from .climb import Climb, length_of


@final
class ASAM(Climb):
    """Adaptive sharpness-aware minimisation: large weights are moved further than small ones.

    The optimizer steps from w with the gradient taken at w + ε, where

        ε = ρ T² g / ‖T g‖ ,   T = |w| + η for weights and 1 for biases, entry by entry

    with g the gradient at w and ‖·‖ over all parameters together. This is, to first order, the
    worst point with ‖T⁻¹ ε‖ ≤ ρ. SAM's neighbourhood changes when a layer is scaled up and the next
    one down, although the network computes the same; this one does not, as far as η is small.

    Args:
        rho: Radius ρ, positive; the paper's is about ten times that of `SAM`, 0.5 on CIFAR-10.
        eta: η ≥ 0, moves weights near zero too; the paper's value is 0.01.

    Raises:
        InvalidArgument: If `rho` is not positive or `eta` negative.

    Example:
        >>> weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> weight.grad = torch.tensor([3.0, 2.0])
        >>> asam = ASAM(rho=0.5, eta=0.0)
        >>> saved = asam.climb_([weight])  # T g = (3, 4), T² g = (3, 8)
        >>> weight.tolist()
        [1.2999999523162842, -1.2000000476837158]
        >>> asam.restore_(saved)
        >>> weight.tolist()
        [1.0, -2.0]

    Note:
        Costs a second forward and backward pass per update. T = 1 holds for the parameters that
        `leave` names. The trainer names biases, those of normalisation layers included, embeddings
        of missing values, and scalars such as task weights. The authors' code goes by the word
        "weight" in a name; for torch's own layers that is the same choice.

    Reference:
        Kwon, Kim, Park & Choi, ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
        Learning of Deep Neural Networks, ICML 2021, algorithm 1. https://arxiv.org/abs/2102.11600
    """

    def __init__(self, rho: float = 0.5, eta: float = 0.01) -> None:
        super().__init__(rho)
        at_least("eta", eta, 0)
        self.eta = eta
        self._left: frozenset[nn.Parameter] = frozenset()

    def leave(self, parameters: Iterable[nn.Parameter]) -> None:
        """Says for which parameters T = 1, above all the biases; before, there are none.

        Args:
            parameters: All of them; an earlier choice is forgotten.
        """
        self._left = frozenset(parameters)

    def direction(
        self, weights: Sequence[nn.Parameter], gradients: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], Tensor]:
        """T² g, and ‖T g‖."""
        scales = [
            torch.ones_like(weight)
            if weight in self._left
            else weight.detach().abs().add_(self.eta)
            for weight in weights
        ]
        scaled = torch._foreach_mul(scales, list(gradients))
        norm = length_of(scaled)
        torch._foreach_mul_(scaled, scales)
        return scaled, norm

    def describe(self) -> str:
        """Radius and η, in words."""
        return (
            f"gradient at the worst point within the radius {self.rho:g} in units of "
            f"|w| + {self.eta:g}; twice the passes"
        )


def unscaled(infos: Iterable[ParameterInfo]) -> list[nn.Parameter]:
    """The parameters of a model that `ASAM` leaves in their own units.

    Args:
        infos: The parameters of the model.

    Example:
        >>> from polytask.optim.roles import Role
        >>> owned = nn.Linear(2, 3).named_parameters()
        >>> kinds = {"weight": Kind.WEIGHT, "bias": Kind.BIAS}
        >>> infos = [ParameterInfo(n, p, Role.HEAD, kinds[n], frozenset("a")) for n, p in owned]
        >>> [tuple(parameter.shape) for parameter in unscaled(infos)]
        [(3,)]
    """
    scaled = (Kind.WEIGHT, Kind.EMBEDDING)
    return [
        info.parameter
        for info in infos
        # A normalisation layer owns a factor and a shift, in torch always called weight and bias.
        if info.kind not in scaled
        and not (info.kind is Kind.NORM and info.name.rpartition(".")[2] != "bias")
    ]
