"""Temperature calibration: one number that makes probabilities as sure as they may be."""

import math
from collections.abc import Callable
from typing import NamedTuple

LOWEST, HIGHEST = 0.05, 20.0
"""Bounds of the temperature: separable rows would drive it to 0, random ones to infinity."""


class Temperature(NamedTuple):
    """A fitted temperature.

    Args:
        value: T > 0; above 1 the outputs were too sure.
        before: Mean log-loss at T = 1.
        after: Mean log-loss at T.
        bounded: No T is better than `LOWEST` or `HIGHEST`: the rows do not determine it.
    """

    value: float
    before: float
    after: float
    bounded: bool


def fit_temperature(log_loss: Callable[[float], float]) -> Temperature:
    """The temperature with the lowest validation log-loss.

    Logits are divided by T, which leaves the order of the classes, and so every decision, as it
    is. For one model the log-loss is convex in 1/T; for an ensemble, whose probabilities are
    averaged after the division, it is searched in the same bounds.

    Args:
        log_loss: T → mean log-loss of the outputs divided by T, on validation rows.

    Returns:
        The minimum over T in [0.05, 20], never worse than T = 1.

    Example:
        >>> import torch
        >>> logits, labels = 3.0 * torch.tensor([1.0, 1, 1, -1]), torch.tensor([1.0, 1, 0, 0])
        >>> def loss(t):
        ...     nll = torch.nn.functional.binary_cross_entropy_with_logits
        ...     return float(nll(logits.double() / t, labels.double()))
        >>> round(fit_temperature(loss).value, 4)
        2.7307

    Reference:
        Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017,
        section 4.2. https://arxiv.org/abs/1706.04599
    """
    from scipy.optimize import minimize_scalar

    low, high = math.log(LOWEST), math.log(HIGHEST)
    found = minimize_scalar(
        lambda logarithm: log_loss(math.exp(logarithm)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-9},
    )
    value, after = math.exp(float(found.x)), float(found.fun)
    # The search stops anywhere in a flat part: sure outputs have a loss of exactly 0 below some T.
    edge, bound = min((log_loss(limit), limit) for limit in (LOWEST, HIGHEST))
    bounded = not after < edge
    if bounded:
        value, after = bound, edge
    before = log_loss(1.0)
    if not after < before:
        value, after = 1.0, before
    return Temperature(value, before, after, bounded)
