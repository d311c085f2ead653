"""The metric of many parameters at once, with one kernel per operation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from polytask.optim.metric import proximal_steps

from .scratch import Scratch


def parameter_groups(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> list[int]:
    """The index of the optimizer's group of each parameter.

    An index, because loading a checkpoint replaces the groups themselves.

    Raises:
        Unsupported: If the optimizer's metric is not known, or it maximises.
        InvalidArgument: If a parameter is not in the optimizer.
    """
    groups = optimizer.param_groups
    owners = {id(p): index for index, group in enumerate(groups) for p in group["params"]}
    for parameter in parameters:
        known = type(optimizer) in (SGD, Adam, AdamW) and id(parameter) in owners
        if not known or groups[owners[id(parameter)]]["maximize"]:
            # It says in one sentence what is wrong.
            proximal_steps(optimizer, parameter)
    return [owners[id(parameter)] for parameter in parameters]


def multi_tensor_steps(
    optimizer: Optimizer,
    parameters: Sequence[nn.Parameter],
    groups: Sequence[int],
    scratch: Scratch | None = None,
) -> list[Tensor | float | None]:
    """What `proximal_steps` returns, for all parameters, with multi-tensor kernels.

    Args:
        optimizer: SGD, Adam or AdamW, after its step.
        parameters: Some of its parameters.
        groups: The index of the optimizer's group of each.
        scratch: Memory of earlier calls: it holds the result until the next call.

    Returns:
        Per parameter a number (SGD) or a tensor of its shape; None where the proximal step is the
        identity (rate 0) or the optimizer has not stepped the parameter yet.
    """
    result: list[Tensor | float | None] = [None] * len(parameters)
    if type(optimizer) is SGD:
        for index, place in enumerate(groups):
            group = optimizer.param_groups[place]
            momentum = float(group["momentum"])
            factor = (1 - float(group["dampening"])) / (1 - momentum) if momentum else 1.0
            result[index] = float(group["lr"]) * factor or None
        return result
    batches: dict[int, list[int]] = {}
    for index, (parameter, place) in enumerate(zip(parameters, groups, strict=True)):
        if "step" in optimizer.state.get(parameter, ()):
            batches.setdefault(place, []).append(index)
    for place, members in batches.items():
        group = optimizer.param_groups[place]
        rate = float(group["lr"])
        if rate == 0:
            continue
        states = [optimizer.state[parameters[index]] for index in members]
        key = "max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"
        seconds = [state[key] for state in states]
        beta, margin = float(group["betas"][1]), float(group["eps"]) / rate
        if seconds[0].device.type == "cpu":
            scratch = scratch or Scratch()
            # One margin for all; it follows the schedule, so that no memory keeps it.
            margins = {second.dtype: second.new_full((), margin) for second in seconds}
            for index, second, state in zip(members, seconds, states, strict=True):
                scale = 1 / (rate * (1 - beta ** float(state["step"])) ** 0.5)
                step = torch.rsqrt(second, out=scratch.like(second, index))
                # The root by two reciprocals, which are faster than it; 0 stays 0.
                step.reciprocal_()
                torch.add(margins[second.dtype], step, alpha=scale, out=step)
                result[index] = step.reciprocal_()
            continue
        roots = list(torch._foreach_sqrt(seconds))
        if states[0]["step"].device.type == "cpu":
            scales = [1 / (rate * (1 - beta ** float(state["step"])) ** 0.5) for state in states]
            torch._foreach_mul_(roots, scales)
            torch._foreach_add_(roots, margin)
        else:
            # The counters stay on their device: no synchronisation.
            for root, state in zip(roots, states, strict=True):
                root.div_((1 - beta ** state["step"]).sqrt_().mul_(rate))
            torch._foreach_add_(roots, margin)
        torch._foreach_reciprocal_(roots)
        for index, root in zip(members, roots, strict=True):
            result[index] = root
    return result
