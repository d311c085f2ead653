"""One update, in the one order that every technique relies on.

counts of the window → forward → losses (sums, counts) → balance: the weights of the tasks →
weighted sum, plus the penalties of the architecture, added once and unweighted → backward →
non-finite check (skips everything below) → global clip → optimizer step.
"""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from polytask._files.fail_points import fail_point
from polytask.balancing import LinearBalancer, LossBalancer
from polytask.data.batch import Window
from polytask.sharing.base import ModelOutput
from polytask.tasks.groups import TaskGroup

from .measure import group_sums, user_order


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
        self._moving = _modules_with_state(nn.ModuleList([model, balance]))
        order = user_order(groups)
        self._order = None if order == list(range(len(order))) else torch.tensor(order)
        device = self.parameters[0].device
        if self._order is not None:
            self._order = self._order.to(device)
        self.totals = torch.zeros(3, len(order), device=device)
        """Running sums over the epoch: losses · counts, counts, weights (user's order)."""
        self._sums, self._counts, self._weights = self.totals.unbind()
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

    def update(self, window: Window) -> bool:
        """One optimizer step over the micro-batches of a window.

        Returns:
            False if the gradient is not finite: then nothing but `skipped` has changed.
        """
        batches, window_counts = window
        counts = self._in_user_order([window_counts[group.name] for group in self.groups])
        present = counts > 0
        divisors = torch.where(present, counts, 1.0)
        before = [buffer.clone() for buffer in self._buffers()]
        seen: list[tuple[Tensor, Tensor]] = []
        self.optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            output: ModelOutput = self.model(batch.inputs)
            sums = self._in_user_order(group_sums(output.outputs, batch, self.groups))
            weights = self._balanced(sums.detach() / divisors, present, counts)
            objective = torch.dot(weights / divisors, sums)
            for penalty in output.shared.penalties.values():
                objective = objective + penalty / len(batches)
            if objective.requires_grad:
                torch.autograd.backward(objective)
            seen.append((sums.detach(), weights))
        self.updates += 1
        if not self._apply():
            self.skipped += 1
            for buffer, value in zip(self._buffers(), before, strict=True):
                buffer.copy_(value)
            return False
        for sums, _ in seen:
            self._sums.add_(sums)
        self._counts.add_(counts)
        self._weights.add_(seen[0][1])
        return True

    def _balanced(self, losses: Tensor, present: Tensor, counts: Tensor) -> Tensor:
        """The weights: the gradient of the balanced objective with respect to the losses."""
        if isinstance(self.balance, LinearBalancer):
            return self.balance.weights(present, counts, losses.dtype)
        losses.requires_grad_()
        objective = self.balance(losses, present, counts)
        if objective.requires_grad:
            objective.backward()
        return torch.zeros_like(losses) if losses.grad is None else losses.grad

    def _apply(self) -> bool:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = _norm(gradients)
        if not math.isfinite(norm):
            return False
        if self.clip_norm and norm > self.clip_norm:
            torch._foreach_mul_(gradients, self.clip_norm / norm)
        fail_point("step.before-optimizer")
        self.optimizer.step()
        fail_point("step.after-optimizer")
        return True

    def _in_user_order(self, pieces: Sequence[Tensor]) -> Tensor:
        """One vector ``[k]`` per group → ``[tasks]``."""
        vector = pieces[0] if len(pieces) == 1 else torch.cat(list(pieces))
        return vector if self._order is None else vector[self._order]

    def _buffers(self) -> list[Tensor]:
        """What an update moves besides parameters: running statistics, state of the balancer."""
        return [buffer for module in self._moving for buffer in module.buffers(recurse=False)]


def _modules_with_state(root: nn.Module) -> list[nn.Module]:
    """Modules with buffers that are part of the state; constants are not."""
    kept = root.state_dict(keep_vars=True)
    return [
        module
        for name, module in root.named_modules()
        if any(f"{name}.{key}" in kept for key, _ in module.named_buffers(recurse=False))
        and not isinstance(module, LinearBalancer)
    ]


def _norm(gradients: list[Tensor]) -> float:
    """The global norm; the one number an update reads back from the device."""
    if not gradients:
        return 0.0
    norms = torch.stack(torch._foreach_norm(gradients))
    return float(torch.linalg.vector_norm(norms))
