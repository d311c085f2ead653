"""Scheduled weights: emphasis that moves from task to task during the run."""

import math
from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask._checks import require

from .linear import LinearBalancer


@final
class ScheduledWeights(LinearBalancer):
    """The mean of the losses with weights that are functions of the epochs done.

    objective = Σ_k w_k(e) L_k / Σ_k w_k(e) over the present tasks, e the epochs done (fractions
    during an epoch). With `polytask.optim.piecewise` these are weights in steps, with
    `polytask.optim.linear` one task fades in while another fades out. Only ratios matter.

    Args:
        schedules: One function per task in the user's order, epochs → weight of at least 0.

    Shapes:
        losses: ``[tasks]``.
        objective: scalar.

    Raises:
        InvalidArgument: If a schedule returns a negative or not finite weight.

    Example:
        >>> from polytask.optim import constant, linear
        >>> balancer = ScheduledWeights([constant(), linear([(0, 0.0), (10, 1.0)])])
        >>> balancer(torch.tensor([1.0, 3.0])).item()
        1.0
        >>> balancer.progress(fraction=0.1, epoch=10.0)
        >>> balancer(torch.tensor([1.0, 3.0])).item()
        2.0
    """

    values: Tensor

    def __init__(self, schedules: Sequence[Callable[[float], float]]) -> None:
        super().__init__()
        self.num_tasks = len(schedules)
        require(self.num_tasks >= 1, "schedules", "hold one schedule per task", list(schedules))
        self.schedules = tuple(schedules)
        self._shown: list[float] | None = None
        self.register_buffer("values", torch.zeros(self.num_tasks, dtype=torch.float64))
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]  # in torch
        self.progress(fraction=0.0, epoch=0.0)

    def progress(self, fraction: float, epoch: float) -> None:
        """Sets the weights for `epoch` epochs done."""
        values = [float(schedule(epoch)) for schedule in self.schedules]
        require(
            all(0 <= value < math.inf for value in values),
            "schedules",
            f"return finite weights of at least 0 (asked at epoch {epoch:g})",
            values,
        )
        if values != self._shown:  # steps change rarely: most calls copy nothing to the device
            self.values.copy_(torch.tensor(values, dtype=torch.float64))
            self._shown = values

    def reset(self) -> None:
        """Back to the start of the run."""
        self.progress(fraction=0.0, epoch=0.0)

    def relative(self, counts: Float[Tensor, " tasks"] | None) -> Float[Tensor, " tasks"]:
        """Those of the moment."""
        return self.values


def _forget(module: nn.Module, incompatible: object) -> None:  # noqa: ARG001 (torch's form)
    """After loading, the buffer no longer holds what `progress` wrote last."""
    assert isinstance(module, ScheduledWeights)
    module._shown = None
