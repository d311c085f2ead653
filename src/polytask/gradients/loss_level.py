"""Loss level: weights come from the losses alone, so one ordinary backward pass is enough."""

from collections.abc import Callable

import torch
from torch import Tensor

from polytask.balancing import LinearBalancer, LossBalancer

from .branching import Branch, any_branch
from .call import Call, Settings, backward, backward_weighted
from .checks import check_branches
from .reach import walk
from .report import HEADS_WEIGHTED, ONE_BACKWARD, BackwardReport
from .shared import private_leaves


def at_losses(balance: LossBalancer, call: Call, settings: Settings) -> BackwardReport:
    """One backward pass of the objective.

    The weights are ∂objective/∂losses, and the objective's own scalars get their gradients. Without
    a branch the heads get the weights too, as in the papers on loss balancing; with one they keep
    weight 1 unless asked otherwise.
    """
    weights = loss_weights(balance, call.values, call.present, None, call.seed)
    flags = backward_with(weights, call, settings)
    return BackwardReport(weights, None, call.present, flags | {ONE_BACKWARD})


def backward_with(weights: Tensor, call: Call, settings: Settings) -> frozenset[str]:
    """One backward pass of Σ_k w_k L_k, and of the penalty; returns flags."""
    losses = call.losses
    flags = frozenset({HEADS_WEIGHTED})
    if losses.stacked is not None:
        scaled = weights * call.scale if call.scaled else weights
        backward([losses.stacked], [scaled.to(losses.stacked)], keep=call.keep)
    elif settings.heads == "one" and (branches := _branches(call)):
        behind = walk([branch.representation for branch in branches], into_branches=True)
        private = [leaf for leaf, _ in private_leaves(call, branches, behind)]
        found = walk(losses.entries) if private else None
        trunk = [leaf for leaf in behind.leaves if all(leaf is not own for own in private)]
        backward_weighted(
            call,
            weights,
            settings,
            trunk=trunk,
            heads=found.leaves if found else (),
            branches=branches,
            private=private,
        )
        return frozenset()
    else:
        backward(losses.tensors, call.seeds(weights), keep=call.keep)
    call.add_penalty()
    return flags


def loss_weights(
    balance: LossBalancer,
    values: Tensor,
    present: Tensor,
    counts: Tensor | None,
    seed: Callable[[Tensor], Tensor],
) -> Tensor:
    """∂objective/∂losses; the gradients of the objective's own scalars are added to ``.grad``.

    Args:
        balance: The method.
        values: Losses, [tasks], detached.
        present: [tasks].
        counts: Labels behind the losses, if they are known.
        seed: Objective → where its gradient starts, which is the scale.
    """
    if isinstance(balance, LinearBalancer):
        return balance.weights(present, counts, values.dtype)
    values = values.detach().requires_grad_()
    with torch.enable_grad():
        objective = balance(values, present, counts)
    if not objective.requires_grad:
        return torch.zeros_like(values)
    start = seed(objective)
    torch.autograd.backward(objective, start)
    return torch.zeros_like(values) if values.grad is None else values.grad / start.to(values)


def _branches(call: Call) -> list[Branch]:
    if not any_branch():
        return []
    found = walk(call.losses.entries)
    return check_branches(call, found)
