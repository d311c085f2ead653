"""The proximal step of total variation along rows, exact in any diagonal metric."""

import torch
from jaxtyping import Float
from torch import Tensor

_ENTRIES = 1 << 21


def pull_together_(block: Float[Tensor, "rows n"], step: Tensor | float, strength: float) -> None:
    """Argmin over w of ½ Σ_k (w_k − u_k)²/t_k + λ Σ_k |w_k − w_{k+1}|, per row, in place.

    Dynamic programming, exact up to rounding: with f_k(x) the least cost of the first k terms if
    w_k = x,

        f_k'(x) = (x − u_k)/t_k + min(max(f_{k−1}'(x), −λ), λ),

    which rises in straight pieces. With L_k and U_k the points where f_k' is −λ and λ, the best
    w_k beside w_{k+1} is w_{k+1} kept between L_k and U_k. So neighbours that are joined are equal
    to the last bit. The corners of f_k' are known: L_1, U_1, …, L_{k−1}, U_{k−1}.

    Args:
        block: u, one column per place; overwritten by w.
        step: t, a number or of the block's shape; at least 0, and positive per entry.
        strength: λ, at least 0.

    Example:
        >>> weights = torch.tensor([[1.0, 2.0, 9.0]])
        >>> pull_together_(weights, 1.0, 1.0)
        >>> weights.tolist()
        [[2.0, 2.0, 8.0]]

    Reference:
        Johnson, A Dynamic Programming Algorithm for the Fused Lasso and L0-Segmentation, Journal
        of Computational and Graphical Statistics, 2013.
        https://doi.org/10.1080/10618600.2012.681238
    """
    if not isinstance(step, Tensor):
        if step * strength == 0:
            return
        step = block.new_full((), step)
    elif strength == 0:
        return
    rows = max(1, _ENTRIES // (2 * block.shape[1]))
    steps = torch.split(step.expand_as(block), rows)
    for part, metric in zip(torch.split(block, rows), steps, strict=True):
        # Float64, because steps of one row may differ by many orders of magnitude.
        part.copy_(_solve(part.double(), metric.double(), strength))


def _solve(u: Tensor, t: Tensor, strength: float) -> Tensor:
    count = u.shape[1]
    weight = t.reciprocal()
    # Corners of f', in order, with its values there.
    places, values = u.new_empty(len(u), 0), u.new_empty(len(u), 0)
    bounds: list[tuple[Tensor, Tensor]] = []
    for k in range(count - 1):
        point, slope = u[:, k : k + 1], weight[:, k : k + 1]
        values = values + slope * (places - point)
        low = _where(places, values, point, slope, -strength)
        high = _where(places, values, point, slope, strength)
        bounds.append((low, high))
        places = torch.cat([low, places.clamp(low, high), high], dim=1)
        values = values.clamp(-strength, strength)
        ends = torch.full_like(low, strength)
        values = torch.cat([-ends, values, ends], dim=1)
    point, slope = u[:, -1:], weight[:, -1:]
    values = values + slope * (places - point)
    columns = [_where(places, values, point, slope, 0.0)]
    for low, high in reversed(bounds):
        columns.append(columns[-1].clamp(low, high))
    return torch.cat(columns[::-1], dim=1)


def _where(places: Tensor, values: Tensor, point: Tensor, slope: Tensor, target: float) -> Tensor:
    """The x at which f' is the target: between two corners, or beyond the outer ones."""
    if places.shape[1] == 0:
        return point + target / slope
    before = (values <= target).sum(dim=1, keepdim=True)
    last = places.shape[1] - 1
    left, right = (before - 1).clamp_min(0), before.clamp_max(last)
    start, end = places.gather(1, left), places.gather(1, right)
    height = values.gather(1, left)
    rise = values.gather(1, right) - height
    # Beyond the outer corners f' has the slope of the newest term alone.
    outside = (before == 0) | (before == last + 1)
    inner = start + (target - height) * ((end - start) / rise)
    outer = start + (target - height) / slope
    return torch.where(outside, outer, inner.maximum(start).minimum(end))
