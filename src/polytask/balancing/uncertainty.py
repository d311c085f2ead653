"""Uncertainty weighting: task weights as learned precisions."""

from collections.abc import Sequence
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polytask._checks import one_of, require

from .base import LossBalancer

_FACTORS = {"regression": 0.5, "classification": 1.0}


@final
class UncertaintyWeights(LossBalancer):
    """Divides each loss by a learned variance of its task, and charges for large variances.

    With the log-variance s_k = log σ_k² of task k, the objective is the negative logarithm of a
    likelihood in which σ_k² is the noise of the labels (regression) or the temperature of the
    softmax (classification):

        objective = Σ_k c_k e^{-s_k} L_k + ½ s_k,     c_k = ½ (regression) or 1 (classification)

    over the present tasks. At its minimum e^{s_k} = 2 c_k L_k, where the weight of a task is
    1 / (2 L_k) and the objective is ½ Σ_k log L_k up to a constant: all tasks pull alike, whatever
    their units. s_k is unconstrained, so a small loss gets a weight above 1. Scale: weights c_k at
    the start, logarithm at the minimum.

    Args:
        forms: "regression" (squared errors) or "classification" (cross-entropy and other negative
            log-likelihoods of labels), one per task in the user's order.
        initial: s_k at the start. Paper: any from -2 to 5 end in the same place. Default 0.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: `forms` is empty or `initial` is not finite.
        UnknownName: There is no such form.

    Example:
        >>> balancer = UncertaintyWeights(["regression", "classification"])
        >>> objective = balancer(torch.tensor([2.0, 3.0]))
        >>> objective.backward()
        >>> objective.item(), balancer.log_variances.grad
        (4.0, tensor([-0.5000, -2.5000]))

    Note:
        s is a Parameter (`Role.BALANCE`): give it to the optimizer, without weight decay. Public
        packages use the regression form for every task, which halves the weight of classification.
        A loss that can fall below zero has no minimum here: s_k would fall for ever.

    Reference:
        Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses for scene
        geometry and semantics", CVPR 2018, Eq. 7 and 10, https://arxiv.org/abs/1705.07115
    """

    guarantees = frozenset({"non-negative-weights"})
    scale = "logarithm"
    paper = "Kendall et al. 2018, https://arxiv.org/abs/1705.07115"

    factors: Tensor

    def __init__(
        self,
        forms: Sequence[Literal["regression", "classification"]],
        initial: float = 0.0,
    ) -> None:
        super().__init__()
        require(len(forms) >= 1, "forms", "hold one form per task", list(forms))
        for form in forms:
            one_of("forms", form, _FACTORS)
        require(abs(initial) < float("inf"), "initial", "be finite", initial)
        self.num_tasks = len(forms)
        self.initial = initial
        factors = torch.tensor([_FACTORS[form] for form in forms])
        self.register_buffer("factors", factors, persistent=False)
        self.log_variances = nn.Parameter(torch.full((self.num_tasks,), float(initial)))

    def objective(
        self,
        losses: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        counts: Float[Tensor, " tasks"] | None,
    ) -> Float[Tensor, ""]:
        """The negative log-likelihood, up to a constant."""
        s = self.log_variances.to(losses.dtype)
        terms = self.factors.to(losses.dtype) * torch.exp(-s) * losses + 0.5 * s
        return torch.where(present, terms, 0.0).sum()

    @torch.no_grad()
    def reset(self) -> None:
        """Back to the initial log-variances."""
        self.log_variances.fill_(self.initial)
