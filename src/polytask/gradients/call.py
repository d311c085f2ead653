"""One update, as all strategies see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from polytask.aggregation import GramianAggregator

from .branching import Branch, weighing
from .losses import Losses
from .parting import Parting, weighing_at
from .report import HEADS_WEIGHTED, BackwardReport

Heads = Literal["one", "weighted"]
Update = Literal["auto", "backward", "assembled"]


@dataclass(frozen=True)
class Settings:
    """What the user chose once.

    Args:
        heads: Weight of what only one task reaches.
        update: How the shared gradient is made.
        max_gradient_memory: Bytes for task gradients.
    """

    heads: Heads
    update: Update
    max_gradient_memory: int


@dataclass(frozen=True)
class Call:
    """What the user handed over for one update.

    Args:
        losses: In the user's order.
        values: The same, detached, [tasks]; zero for absent tasks.
        present: [tasks].
        scale: Factor of every gradient, of a gradient scaler.
        penalty: Added to the objective once, unweighted.
    """

    losses: Losses
    values: Tensor
    present: Tensor
    scale: Tensor | float
    penalty: Tensor | None

    @property
    def keep(self) -> bool:
        """Whether the graph must outlive the passes through the losses."""
        return self.penalty is not None and self.penalty.requires_grad

    @property
    def scaled(self) -> bool:
        """Whether gradients are multiplied at all."""
        return isinstance(self.scale, Tensor) or self.scale != 1.0

    @property
    def everyone(self) -> bool:
        """Whether no task is absent."""
        return len(self.losses.tasks) == len(self.losses.names)

    def seeds(self, weights: Tensor | None = None) -> list[Tensor]:
        """Where the gradient of each present loss starts: weight (default 1) times scale."""
        values = self.values
        starts = torch.ones_like(values) if weights is None else weights.to(values)
        starts = starts * self.scale if self.scaled else starts
        pieces = starts.unbind()  # views of one vector: K tasks must not mean K small products
        chosen = pieces if self.everyone else [pieces[k] for k in self.losses.tasks]
        return [
            piece
            if loss.dtype == values.dtype and loss.dim() == 0
            else piece.to(loss).reshape(loss.shape)
            for piece, loss in zip(chosen, self.losses.tensors, strict=True)
        ]

    def seed(self, scalar: Tensor) -> Tensor:
        """The same for one scalar of weight 1."""
        start = torch.ones_like(scalar)
        return start * self.scale if self.scaled else start

    def unscaled(self, gramian: Tensor) -> Tensor:
        """The Gramian of gradients that were measured under the scale."""
        if not self.scaled:
            return gramian
        scale = torch.as_tensor(self.scale, dtype=gramian.dtype, device=gramian.device)
        return gramian / scale / scale

    def add_penalty(self) -> None:
        """The gradient of the penalty, as a backward pass adds it."""
        if self.penalty is not None and self.keep:
            torch.autograd.backward(self.penalty, self.seed(self.penalty))

    def report(
        self, weights: Tensor, gramian: Tensor | None, flags: frozenset[str], settings: Settings
    ) -> BackwardReport:
        """What the user gets."""
        if settings.heads == "weighted":
            flags |= {HEADS_WEIGHTED}
        return BackwardReport(weights.to(self.values), gramian, self.present, flags)


def backward(
    tensors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    *,
    keep: bool,
    inputs: Sequence[Tensor] | None = None,
) -> None:
    """An ordinary backward pass, if there is anything to do."""
    if tensors and (inputs is None or inputs):
        torch.autograd.backward(
            list(tensors), list(gradients), retain_graph=keep, inputs=list(inputs or []) or None
        )


def backward_weighted(
    call: Call,
    weights: Tensor,
    settings: Settings,
    *,
    trunk: Sequence[Tensor],
    heads: Sequence[Tensor],
    branches: Sequence[Branch] = (),
    private: Sequence[Tensor] = (),
    parting: Parting | None = None,
) -> None:
    """Fills every ``.grad`` for known weights: one pass, or one more through the heads.

    Args:
        call: The update.
        weights: [tasks].
        settings: Which weight the heads get.
        trunk: Leaves whose gradients are weighted.
        heads: All other leaves.
        branches: If there are some, they weigh the trunk within a single pass.
        private: Leaves behind the branches that one task has for itself.
        parting: Without branches, where the tasks part; it does the same.
    """
    tensors = call.losses.tensors
    if settings.heads == "weighted":
        backward(tensors, call.seeds(weights), keep=call.keep)
    elif branches:
        # Branches weigh whatever lies behind them: what one task has there takes a pass of its own.
        reached = [*trunk, *heads] if private else None
        with weighing(branches, call.losses.names, call.losses.keyed, weights):
            backward(tensors, call.seeds(), keep=call.keep or bool(private), inputs=reached)
        backward(tensors, call.seeds(), keep=call.keep, inputs=private)
    elif parting is not None:
        with weighing_at(parting, weights.to(call.values).unbind()):
            backward(tensors, call.seeds(), keep=call.keep)
    else:
        more = bool(heads) or call.keep
        backward(tensors, call.seeds(weights), keep=more, inputs=trunk)
        backward(tensors, call.seeds(), keep=call.keep, inputs=heads)
    call.add_penalty()


def ready_weights(balance: GramianAggregator, call: Call) -> Tensor | None:
    """Weights that need no gradients in this update."""
    found = balance.ready_weights(call.present)
    return None if found is None else found.to(call.values.device)


def weigh(
    balance: GramianAggregator, gramian: Tensor, call: Call, measured_in: torch.dtype
) -> Tensor:
    """Weights from the Gramian of this update."""
    balance.accumulated_in = measured_in
    present = None if call.everyone else call.present.to(gramian.device)
    weights: Tensor = balance(gramian, call.values.to(gramian.device), present)
    return weights


def positions_of(call: Call, branch: Branch) -> Mapping[int, int]:
    """Task → number of its copy, of the present tasks that the branch serves."""
    names = {name: number for number, name in enumerate(branch.tasks)}
    if not call.losses.keyed:
        return {k: k for k in call.losses.tasks if k < len(branch.tasks)}
    return {
        k: names[call.losses.names[k]] for k in call.losses.tasks if call.losses.names[k] in names
    }
