"""One update, in the one order that every technique relies on.

counts of the window → input regularizers → forward → losses (sums, counts), mixed or blended with
a teacher's → balance: the weights of the tasks → weighted sum, plus the penalties of the
architecture and the penalties that act by gradient, added once and unweighted → backward →
non-finite check (skips everything below) → global clip → gradient noise → optimizer step → proximal
steps → frozen heads put back → weight average.

With SAM everything from the forward to the backward runs twice, the second time at perturbed
weights, with the same dropout masks; running statistics move once.
"""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from polytask._files.fail_points import fail_point
from polytask.balancing import LinearBalancer, LossBalancer
from polytask.data.batch import Batch, Inputs, Window
from polytask.data.batches import label_counts
from polytask.regularization.objective import BoundPenalties
from polytask.sharing.base import ModelOutput
from polytask.tasks.groups import TaskGroup

from .defence import Defence
from .freezing import FrozenHeads
from .losses import Example, counts_of_mixed, example_of, training_sums
from .measure import user_order
from .seeding import Replay
from .teaching import Teaching


@final
class Step:
    """Runs updates and keeps their per-task numbers on the device until somebody asks.

    Args:
        model: Returns `ModelOutput`.
        groups: Task groups.
        balance: Losses → objective.
        optimizer: Holds every trainable parameter of model and balance exactly once.
        clip_norm: Largest global gradient norm; 0 means no clipping.
        defence: Techniques against overfitting.
        penalties: The penalties of `defence`, bound to the parameters and the optimizer.
        teaching: A teacher's part in the losses.
        frozen: Heads that no longer move.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[TaskGroup],
        balance: LossBalancer,
        optimizer: Optimizer,
        clip_norm: float,
        defence: Defence | None = None,
        penalties: BoundPenalties | None = None,
        teaching: Teaching | None = None,
        frozen: FrozenHeads | None = None,
    ) -> None:
        self.defence = defence or Defence()
        self.penalties = penalties
        self.teaching = teaching
        self.frozen = frozen
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
        self.done = 0
        """Updates of the whole run that changed the weights."""

    def reset(self) -> None:
        """Starts the running numbers of a new epoch."""
        self.totals.zero_()
        self.skipped = 0
        self.updates = 0

    def state_dict(self) -> dict[str, Tensor | int]:
        """The running numbers of the epoch."""
        return {"totals": self.totals, "skipped": self.skipped, "updates": self.updates,
                "done": self.done}  # fmt: skip

    def load_state_dict(self, state_dict: Mapping[str, Tensor | int]) -> None:
        """The inverse of `state_dict`."""
        self.totals.copy_(torch.as_tensor(state_dict["totals"]))
        self.skipped = int(state_dict["skipped"])
        self.updates = int(state_dict["updates"])
        self.done = int(state_dict["done"])

    def update(self, window: Window, fraction: float = 0.0) -> bool:
        """One optimizer step over the micro-batches of a window.

        Args:
            window: Micro-batches and their label counts.
            fraction: Of the run that is over, in [0, 1].

        Returns:
            False if the gradient is not finite: then nothing but `skipped` has changed.
        """
        batches, window_counts = window
        examples = [self._regularized(batch) for batch in batches]
        mixed = [counts_of_mixed(e) if e.mixing is not None else None for e in examples]
        if any(mixed):
            window_counts = _total(
                [c or label_counts(e.batch) for c, e in zip(mixed, examples, strict=True)]
            )
        counts = self._in_user_order([window_counts[group.name] for group in self.groups])
        before = [buffer.clone() for buffer in self._buffers()]
        self.updates += 1
        replay = Replay(self.parameters[0].device) if self.defence.sam is not None else None
        seen = self._backward(examples, counts)
        sharp = replay is None or self._at_perturbed(examples, counts, replay)
        if not (sharp and self._apply(fraction)):
            self.skipped += 1
            for buffer, value in zip(self._buffers(), before, strict=True):
                buffer.copy_(value)
            return False
        for sums, _ in seen:
            self._sums.add_(sums)
        self._counts.add_(counts)
        self._weights.add_(seen[0][1])
        return True

    def _regularized(self, batch: Batch) -> Example:
        """The batch after the input regularizers."""
        mixing = None
        for technique in self.defence.inputs:
            batch, mixed = technique(batch)
            mixing = mixing if mixed is None else mixed
        return example_of(batch, mixing)

    def _backward(self, examples: Sequence[Example], counts: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Gradients of the objective; per micro-batch its loss sums and the task weights."""
        present = counts > 0
        divisors = torch.where(present, counts, 1.0)
        if self.frozen is not None:
            present = self.frozen.learning(present)
        penalize = self.defence.input_gradient
        rows = sum(len(example.batch.rows) for example in examples)
        seen: list[tuple[Tensor, Tensor]] = []
        self.optimizer.zero_grad(set_to_none=True)
        for example in examples:
            inputs = example.batch.inputs
            watched = _watched(inputs) if penalize is not None else inputs
            output: ModelOutput = self.model(watched)
            sums = self._in_user_order(
                training_sums(output.outputs, example, self.groups, self.teaching)
            )
            weights = self._balanced(sums.detach() / divisors, present, counts)
            objective = torch.dot(weights / divisors, sums)
            if penalize is not None:
                objective = objective + penalize.value(objective, _floating(watched), rows)
            for penalty in output.shared.penalties.values():
                objective = objective + penalty / len(examples)
            if objective.requires_grad:
                torch.autograd.backward(objective)
            seen.append((sums.detach(), weights))
        term = None if self.penalties is None else self.penalties.objective()
        if term is not None:
            torch.autograd.backward(term)
        return seen

    def _balanced(self, losses: Tensor, present: Tensor, counts: Tensor) -> Tensor:
        """The weights: the gradient of the balanced objective with respect to the losses."""
        if isinstance(self.balance, LinearBalancer):
            return self.balance.weights(present, counts, losses.dtype)
        losses.requires_grad_()
        objective = self.balance(losses, present, counts)
        if objective.requires_grad:
            objective.backward()
        return torch.zeros_like(losses) if losses.grad is None else losses.grad

    def _at_perturbed(self, examples: Sequence[Example], counts: Tensor, replay: Replay) -> bool:
        """Replaces the gradient by the one at SAM's perturbed weights; False if not finite."""
        sam = self.defence.sam
        assert sam is not None
        if not math.isfinite(_norm([p.grad for p in self.parameters if p.grad is not None])):
            return False
        statistics = [buffer.clone() for buffer in self._buffers()]
        saved = sam.climb_(self.parameters)
        try:
            with replay.again():
                self._backward(examples, counts)
        finally:
            sam.restore_(saved)
            for buffer, value in zip(self._buffers(), statistics, strict=True):
                buffer.copy_(value)
        return True

    def _apply(self, fraction: float) -> bool:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = _norm(gradients)
        if not math.isfinite(norm):
            return False
        if self.clip_norm and norm > self.clip_norm:
            torch._foreach_mul_(gradients, self.clip_norm / norm)
        defence = self.defence
        if defence.noise is not None:
            defence.noise.add_(self.parameters, self.done)
        fail_point("step.before-optimizer")
        self.optimizer.step()
        if self.penalties is not None:
            self.penalties.prox_()
        if self.frozen is not None:
            self.frozen.put_back()
        self.done += 1
        if defence.averaging is not None:
            defence.averaging.update(self.model, self.done, fraction)
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


def _total(counts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    first, *others = counts
    return {name: sum((c[name] for c in others), first[name]) for name in first}


def _watched(inputs: Inputs) -> Inputs:
    """The inputs, floating ones as leaves that get a gradient."""
    if isinstance(inputs, Tensor):
        return inputs.detach().requires_grad_(inputs.is_floating_point())
    return {
        name: part.detach().requires_grad_(part.is_floating_point())
        for name, part in inputs.items()
    }


def _floating(inputs: Inputs) -> list[Tensor]:
    parts = [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
    return [part for part in parts if part.is_floating_point()]


def _norm(gradients: list[Tensor]) -> float:
    """The global norm; the one number an update reads back from the device."""
    if not gradients:
        return 0.0
    norms = torch.stack(torch._foreach_norm(gradients))
    return float(torch.linalg.vector_norm(norms))
