"""The metric in which an optimizer steps: what a consistent proximal step must use."""

import math

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from polytask._checks import require
from polytask.errors import InvalidArgument, Unsupported

_SUPPORTED = "SGD, Adam, AdamW"


def proximal_steps(optimizer: Optimizer, parameter: nn.Parameter) -> Tensor | float:
    """The step size, per coordinate if need be, that a proximal operator must use.

    A penalty λR(w) acts after ``optimizer.step()`` as

        argmin over w of ½ Σ_i (w_i − u_i)² / s_i + λR(w)

    where u is the parameter after the step. The fixed point is the minimum of loss + λR only if s
    is the optimizer's own metric:

    - SGD with learning rate η, momentum μ, dampening τ: s = η (1 − τ) / (1 − μ), also with
      Nesterov, because the buffer's fixed point is (1 − τ) g / (1 − μ). With μ = 0 torch ignores
      the dampening and s = η.
    - Adam, AdamW: s = η / (√v̂ + ε), with the bias-corrected second moment v̂ (its running
      maximum with amsgrad). The first moment is an average and needs no correction.

    Args:
        optimizer: A torch SGD, Adam or AdamW (exactly; subclasses may step otherwise).
        parameter: One of its parameters; for Adam and AdamW it must have been stepped.

    Returns:
        A float for SGD; for Adam and AdamW a tensor of the parameter's shape.

    Raises:
        Unsupported: For another optimizer, or one that maximises.
        InvalidArgument: If the parameter is not in the optimizer, or has not been stepped yet.

    Example:
        >>> import torch
        >>> weight = nn.Parameter(torch.zeros(3))
        >>> round(proximal_steps(SGD([weight], lr=0.1, momentum=0.9), weight), 6)
        1.0

    Reference:
        Yun, Lozano & Yang, A General Family of Stochastic Proximal Gradient Methods for Deep
        Learning, 2020, algorithm 1. https://arxiv.org/abs/2007.07484
    """
    if type(optimizer) not in (SGD, Adam, AdamW):
        raise Unsupported(
            f"Proximal penalties need an optimizer whose metric is known ({_SUPPORTED}); got "
            f"{type(optimizer).__name__}. Use one of these, or a penalty that acts by gradient."
        )
    group = next(
        (g for g in optimizer.param_groups if any(p is parameter for p in g["params"])), None
    )
    if group is None:
        raise InvalidArgument(
            "`parameter` must be one of the optimizer's parameters; got a tensor of shape "
            f"{tuple(parameter.shape)} that is not. Build the optimizer from the same model."
        )
    if group["maximize"]:
        raise Unsupported(
            "Proximal penalties need an optimizer that minimises; got maximize=True. "
            "Negate the objective instead."
        )
    rate = float(group["lr"])
    if type(optimizer) is SGD:
        momentum = float(group["momentum"])
        dampening = float(group["dampening"])
        return rate * (1.0 - dampening) / (1.0 - momentum) if momentum else rate
    state = optimizer.state.get(parameter, {})
    require(
        "step" in state,
        "optimizer",
        "have stepped the parameter before its proximal step is asked for",
        f"no state for a parameter of shape {tuple(parameter.shape)}",
        "Call this after `optimizer.step()`.",
    )
    second: Tensor = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
    beta = float(group["betas"][1])
    correction = math.sqrt(1.0 - beta ** float(state["step"]))
    # torch's own order of operations: the root is corrected before eps is added.
    deviation: Tensor = second.sqrt() / correction + float(group["eps"])
    return rate / deviation
