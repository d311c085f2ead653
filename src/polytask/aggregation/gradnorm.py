"""GradNorm: equal training rates by equal gradient norms."""

from typing import final

import numpy as np
import torch
from torch import Tensor

from polytask._checks import at_least, positive
from polytask._linalg import Array, Solution

from .base import GramianAggregator, Problem
from .gradvac import same_number

_SLOWEST = 0.1


@final
class GradNorm(GramianAggregator):
    """Learns task weights so that slower tasks get larger gradients.

    With the weights w_k, the gradient norms n_k = ‖∇L_k‖, G_k = w_k n_k, their mean Ḡ, the loss
    ratios L̃_k = L_k/L_k(0) and the relative inverse training rates r_k = L̃_k / mean(L̃), the weights
    descend

        L_grad = Σ_k |G_k - Ḡ r_k^α|     (the targets Ḡ r_k^α held constant)

    by one step per update and are then rescaled to sum to K. The derivative has a closed form,

        ∂L_grad/∂w_k = sign(G_k - Ḡ r_k^α) n_k,

    so no gradient of a gradient is ever needed, and only the norms are. The weights are state with
    a rule of their own: buffers, not parameters, so that no other optimizer descends them. An
    update uses the weights from before its step, as Algorithm 1 does. Scale: sum (they sum to K).

    Args:
        alpha: α ≥ 0, how strongly slow tasks are pulled along; 0 equalises the norms. Paper: 1.5
            (NYUv2), 0.12 (toy problem).
        learning_rate: Step length of the weights. Paper: 0.025.
        relative: Divide the derivative by the mean norm, so that the size of the gradients does not
            change the speed at which the weights move. Not in the paper.

    Shapes:
        gramian [tasks, tasks] (the diagonal is read), losses [tasks] → weights [tasks]; state:
        weights and first losses [tasks].

    Raises:
        InvalidArgument: alpha is negative, the learning rate not positive, losses are missing, or
            the number of tasks has changed.

    Example:
        >>> import torch
        >>> method = GradNorm(alpha=1.5, learning_rate=0.1)
        >>> norms = torch.diag(torch.tensor([2.0, 6.0, 1.0]) ** 2)
        >>> _ = method(norms, torch.tensor([2.0, 4.0, 18.0]))
        >>> method.reset()
        >>> method(norms, torch.tensor([2.0, 4.0, 18.0]))
        tensor([1., 1., 1.])

    Note:
        The paper measures the norms on the last shared layer; here they are those that the caller
        hands over. L_k(0) is the loss of the first update in which the task is present with a
        positive loss; until then r_k = 1. A step that would make a weight negative, which the paper
        leaves open, shrinks it to a tenth instead.

    Reference:
        Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: gradient normalization for adaptive loss
        balancing in deep multitask networks", ICML 2018, Eq. 2 and Algorithm 1,
        https://arxiv.org/abs/1711.02257
    """

    needs = "norms"
    needs_losses = True
    scale = "sum"
    paper = "Chen et al. 2018, https://arxiv.org/abs/1711.02257"

    task_weights: Tensor
    first_losses: Tensor

    def __init__(
        self, alpha: float = 1.5, learning_rate: float = 0.025, relative: bool = False
    ) -> None:
        super().__init__()
        at_least("alpha", alpha, 0.0)
        positive("learning_rate", learning_rate)
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.relative = relative
        promised = {"non-negative-weights"}
        self.guarantees = frozenset(promised | {"homogeneous"} if relative else promised)
        self.remember("task_weights")
        self.remember("first_losses")

    def weigh(self, problem: Problem) -> Solution:
        """The weights of this update; moves those of the next one."""
        assert problem.losses is not None  # promised by needs_losses
        if self.task_weights.numel() == 0:
            self.task_weights = torch.ones(problem.num_tasks, dtype=torch.float64)
            self.first_losses = torch.full((problem.num_tasks,), torch.nan, dtype=torch.float64)
        same_number(len(self.task_weights), problem.num_tasks)
        everyone, first = self.task_weights.numpy().copy(), self.first_losses.numpy().copy()
        tasks, losses = problem.tasks, problem.losses
        new = np.isnan(first[tasks]) & (losses > 0.0)
        first[tasks[new]] = losses[new]
        mass = float(everyone[tasks].sum())
        weights = everyone[tasks] * (tasks.size / mass)
        norms = np.sqrt(np.maximum(np.diagonal(problem.gramian), 0.0))
        slope = self._slope(weights, norms, losses, first[tasks])
        if self.relative and norms.any():
            slope = slope / norms.mean()
        moved = np.maximum(weights - self.learning_rate * slope, _SLOWEST * weights)
        everyone[tasks] = moved * (mass / moved.sum())
        self.task_weights, self.first_losses = torch.from_numpy(everyone), torch.from_numpy(first)
        return Solution(weights, 0.0, frozenset())

    def _slope(self, weights: Array, norms: Array, losses: Array, first: Array) -> Array:
        """∂L_grad/∂w."""
        ratios = np.where(np.isnan(first), np.nan, np.maximum(losses, 0.0) / first)
        known = ~np.isnan(ratios)
        center = float(ratios[known].mean()) if known.any() else 1.0
        rates = np.where(known, ratios / center if center > 0.0 else 1.0, 1.0)
        lengths = weights * norms
        return np.asarray(np.sign(lengths - lengths.mean() * rates**self.alpha) * norms)
