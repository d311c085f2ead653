"""Short runs in which a loss balancer is called as a trainer calls it."""

import torch
from torch import Tensor

from polytask.balancing import LossBalancer

_LENGTH = 2
"""Updates of an epoch."""


def losses_at(step: int, tasks: int | Tensor) -> Tensor:
    """Positive losses that fall at different rates, with noise; other ones at every step.

    Args:
        step: Update, counted from the start of the run.
        tasks: Their number, or who they are.
    """
    who = torch.arange(tasks) if isinstance(tasks, int) else tasks
    who = who.double()
    rates = 0.9 + 0.08 * torch.sin(2.0 * who)
    return (1.0 + who) * rates**step * (1.0 + 0.1 * torch.sin(who + 3.0 * step))


def weights_and_objective(
    balancer: LossBalancer, losses: Tensor, present: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """∂objective/∂losses and the objective; learned scalars get their gradients."""
    leaf = losses.clone().requires_grad_()
    everyone = torch.ones_like(losses, dtype=torch.bool)
    counts = torch.where(everyone if present is None else present, 8.0, 0.0).to(losses.dtype)
    objective: Tensor = balancer(leaf, present, counts)
    if objective.requires_grad:
        torch.autograd.backward(objective)
    gradient = torch.zeros_like(losses) if leaf.grad is None else leaf.grad
    return gradient, objective.detach()


def drive(
    balancer: LossBalancer,
    steps: range,
    *,
    who: Tensor | None = None,
    factors: Tensor | float = 1.0,
    present: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Task weights of each update of a run, of which `steps` may be any part.

    Args:
        balancer: Moved as a run moves it; learned scalars descend by 0.05 times their gradient.
        steps: Updates, counted from the start of the run.
        who: Who its tasks are; None: 0, 1, 2, ….
        factors: Of all losses, one or one per task.
        present: Tasks with labels; the losses of the others are NaN.
        dtype: Of the losses.
    """
    tasks = torch.arange(balancer.num_tasks) if who is None else who
    found = []
    for step in steps:
        losses = losses_at(step, tasks) * factors
        later = losses * (0.9 + 0.09 * torch.sin(5.0 * tasks + step))
        held_out = 1.1 * losses_at(step // _LENGTH, tasks) * factors
        if present is not None:
            losses, later, held_out = (
                torch.where(present, piece, torch.nan) for piece in (losses, later, held_out)
            )
        if step % _LENGTH == 0:
            balancer.measured(held_out.to(dtype), present)
        balancer.progress(fraction=step / 100, epoch=step / _LENGTH)
        balancer.zero_grad(set_to_none=True)
        found.append(weights_and_objective(balancer, losses.to(dtype), present)[0])
        with torch.no_grad():
            for parameter in balancer.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.05 * parameter.grad)
        if balancer.observes:
            balancer.observe(later.to(dtype), present)
        if step % _LENGTH == _LENGTH - 1:
            balancer.end_epoch()
    return found
