"""Loss level: weights come from the losses alone, so one ordinary backward pass is enough."""

import torch
from torch import Tensor

from polytask.balancing import LossBalancer

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
    losses = call.losses
    values = call.values.requires_grad_()
    with torch.enable_grad():
        objective = balance(values, None if losses.stacked is not None else call.present)
    if objective.requires_grad:
        torch.autograd.backward(objective, call.seed(objective))
    scaled = torch.zeros_like(values) if values.grad is None else values.grad
    weights: Tensor = scaled / call.scale
    values.requires_grad_(False)
    flags = {ONE_BACKWARD}
    if losses.stacked is not None:
        backward([losses.stacked], [scaled.to(losses.stacked)], keep=call.keep)
        flags.add(HEADS_WEIGHTED)
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
        return BackwardReport(weights.detach(), None, call.present, frozenset(flags))
    else:
        backward(losses.tensors, call.seeds(weights), keep=call.keep)
        flags.add(HEADS_WEIGHTED)
    call.add_penalty()
    return BackwardReport(weights.detach(), None, call.present, frozenset(flags))


def _branches(call: Call) -> list[Branch]:
    if not any_branch():
        return []
    found = walk(call.losses.entries)
    return check_branches(call, found)
