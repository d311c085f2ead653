"""IMTL: impartial multi-task learning, both halves."""

from typing import final

import numpy as np
import torch
from torch import Tensor

from polytask._checks import positive
from polytask._linalg import Solution, solve_imtl_g
from polytask.optim.adam import adam_step

from .base import GramianAggregator, Problem
from .gradvac import same_number


@final
class IMTL(GramianAggregator):
    """Equal scaled losses by learned scales, equal projections on the gradients of the scaled ones.

    With a learned log-scale s_k per task (zero at the start), the scaled loss is e^{s_k} L_k - s_k.
    Its gradient with respect to the shared parameters is e^{s_k} g_k, and with respect to s_k

        ∂/∂s_k = e^{s_k} L_k - 1,

    in closed form. With α from `IMTLG` on the scaled gradients, α ∝ C⁺1 / (e^{s_k} ‖g_k‖) and
    Σ_k α_k = 1, the update is d = Σ_k α_k e^{s_k} g_k. s then moves by one step of Adam, towards
    e^{s_k} L_k = 1. The scales do not change the line of d, which is that of `IMTLG`, but its
    length: ‖d‖ is measured in units in which every loss is 1. Scale: mean, times e^{s_k}.

    Args:
        learning_rate: Step length of s. Default: 0.025.

    Shapes:
        gramian [tasks, tasks], losses [tasks] → weights [tasks]; state: s [tasks] and the moments
        of Adam [3, tasks].

    Raises:
        InvalidArgument: the learning rate is not positive, losses are missing, or the number of
            tasks has changed.

    Example:
        >>> import torch
        >>> method = IMTL(learning_rate=0.5)
        >>> gramian = torch.tensor([[18.0, -22.0], [-22.0, 38.0]])
        >>> method(gramian, torch.tensor([2.0, 0.5])), method.log_scales
        (tensor([0.5923, 0.4077]), tensor([-0.5000,  0.5000], dtype=torch.float64))

    Note:
        The paper learns s with the optimizer of the network; here it is state with a rule of its
        own, so that neither weight decay nor a gradient scaler reaches it. In the paper the heads
        descend the scaled losses (weight e^{s_k}); in the engine they get weight 1 unless asked for
        α_k e^{s_k}, which may be negative. s_k rests while L_k is not positive (flag
        "loss-not-positive"): it would grow for ever. `polytask.balancing.IMTLL` is the loss half
        alone.

    Reference:
        Liu et al., "Towards impartial multi-task learning", ICLR 2021, Section 3.3 and Algorithm 1,
        https://openreview.net/forum?id=IMPnRXEWpvr
    """

    guarantees = frozenset({"line-invariant", "homogeneous"})
    scale = "mean"
    needs_losses = True
    paper = "Liu et al. 2021, https://openreview.net/forum?id=IMPnRXEWpvr"

    log_scales: Tensor
    moments: Tensor

    def __init__(self, learning_rate: float = 0.025) -> None:
        super().__init__()
        positive("learning_rate", learning_rate)
        self.learning_rate = learning_rate
        self.remember("log_scales")
        self.remember("moments")

    def weigh(self, problem: Problem) -> Solution:
        """Weights with the scales of before; moves the scales."""
        assert problem.losses is not None  # promised by needs_losses
        if self.log_scales.numel() == 0:
            self.log_scales = torch.zeros(problem.num_tasks, dtype=torch.float64)
            self.moments = torch.zeros(3, problem.num_tasks, dtype=torch.float64)
        same_number(len(self.log_scales), problem.num_tasks)
        tasks = torch.from_numpy(problem.tasks)
        log_scales = self.log_scales[tasks]
        scales = log_scales.exp().numpy()
        relative = (log_scales - log_scales.max()).exp().numpy()
        scaled = problem.gramian * relative[:, None] * relative[None, :]
        found = solve_imtl_g(scaled, problem.precision)
        grows = problem.losses > 0.0
        moved, moments = adam_step(
            log_scales,
            torch.from_numpy(scales * problem.losses - 1.0),
            self.moments[:, tasks],
            torch.from_numpy(grows),
            self.learning_rate,
        )
        self.log_scales = self.log_scales.index_copy(0, tasks, moved)
        self.moments = self.moments.index_copy(1, tasks, moments)
        flags = found.flags if np.all(grows) else found.flags | {"loss-not-positive"}
        return found._replace(weights=found.weights * scales, flags=flags)
