"""One update, in the one order that every technique relies on.

counts of the window → forward → losses (sums, counts) → balance → penalties of the architecture,
added once and unweighted → backward → non-finite check (skips everything below) → global clip →
optimizer step.
"""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from polytask._files.fail_points import fail_point
from polytask.balancing.base import LossBalancer
from polytask.data.batch import Window
from polytask.sharing.base import ModelOutput
from polytask.tasks.groups import TaskGroup

from .measure import group_losses, user_order


@final
class Step:
    """Runs updates and keeps their per-task numbers on the device until somebody asks.

    Args:
        model: Returns `ModelOutput`.
        groups: Task groups.
        balance: Losses → objective.
        optimizer: Holds every trainable parameter of model and balance exactly once.
        clip_norm: Largest global gradient norm; 0 means no clipping.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[TaskGroup],
        balance: LossBalancer,
        optimizer: Optimizer,
        clip_norm: float,
    ) -> None:
        self.model = model
        self.groups = groups
        self.balance = balance
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        order = user_order(groups)
        self._order = None if order == list(range(len(order))) else torch.tensor(order)
        device = self.parameters[0].device
        if self._order is not None:
            self._order = self._order.to(device)
        self.totals = torch.zeros(3, len(order), device=device)
        """Running sums over the epoch: losses · counts, counts, weights (user's order)."""
        self.skipped = 0
        self.updates = 0

    def reset(self) -> None:
        """Starts the running numbers of a new epoch."""
        self.totals.zero_()
        self.skipped = 0
        self.updates = 0

    def state_dict(self) -> dict[str, Tensor | int]:
        """The running numbers of the epoch."""
        return {"totals": self.totals, "skipped": self.skipped, "updates": self.updates}

    def load_state_dict(self, state_dict: Mapping[str, Tensor | int]) -> None:
        """The inverse of `state_dict`."""
        self.totals.copy_(torch.as_tensor(state_dict["totals"]))
        self.skipped = int(state_dict["skipped"])
        self.updates = int(state_dict["updates"])

    def _in_user_order(self, vector: Tensor) -> Tensor:
        return vector if self._order is None else vector[self._order]

    def update(self, window: Window) -> bool:
        """One optimizer step over the micro-batches of a window.

        Returns:
            False if the step was skipped because the gradient is not finite.
        """
        batches, window_counts = window
        counts = self._in_user_order(torch.cat([window_counts[g.name] for g in self.groups]))
        present = counts > 0
        divisors = torch.where(present, counts, 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        for index, batch in enumerate(batches):
            output: ModelOutput = self.model(batch.inputs)
            sums = group_losses(output.outputs, batch, self.groups).sums
            losses = self._in_user_order(sums) / divisors
            if losses.requires_grad:
                losses.retain_grad()
            objective = self.balance(losses, present, counts)
            for penalty in output.shared.penalties.values():
                objective = objective + penalty / len(batches)
            if objective.requires_grad:
                objective.backward()
            with torch.no_grad():
                self.totals[0] += losses.detach() * counts
                if index == 0 and losses.grad is not None:
                    self.totals[2] += losses.grad
        self.totals[1] += counts
        self.updates += 1
        return self._apply()

    def _apply(self) -> bool:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm):
            self.skipped += 1
            return False
        if self.clip_norm:
            coefficient = self.clip_norm / (norm + 1e-6)
            if coefficient < 1:
                torch._foreach_mul_(gradients, coefficient)
        fail_point("step.before-optimizer")
        self.optimizer.step()
        fail_point("step.after-optimizer")
        return True
