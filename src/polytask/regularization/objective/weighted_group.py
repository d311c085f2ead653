"""The group soft threshold in a diagonal metric, exact, all groups at once."""

import torch
from jaxtyping import Float
from torch import Tensor, linalg

_ITERATIONS = 20


def group_threshold_(
    block: Float[Tensor, "groups members"],
    step: Tensor | float,
    strength: Float[Tensor, " groups"] | float,
) -> None:
    """Argmin over w of ½ Σ_i (w_i − u_i)² / t_i + λ ‖w‖₂, per row, in place.

    With a number t this is u · max(1 − λt/‖u‖, 0). With t per coordinate: w = 0 if and only if
    ‖u / (λt)‖ ≤ 1; otherwise w_i = u_i s / (s + λ t_i), where s = ‖w‖ is the one root of
    ‖u / (s + λt)‖ = 1. The left side's reciprocal is concave in s, so that Newton's method on it
    rises to the root without overshooting, from any start below.

    Args:
        block: u, one group per row; overwritten by w.
        step: t, a number or of the block's shape; positive.
        strength: λ, a number or one per group; at least 0.

    Reference:
        Deleu & Bengio, Structured Sparsity Inducing Adaptive Optimizers for Deep Learning, 2021.
        https://arxiv.org/abs/2102.03869
    """
    if isinstance(step, Tensor):
        _weighted_(block, step, strength)
        return
    norms = linalg.vector_norm(block, dim=1, keepdim=True)
    threshold = strength * step
    if isinstance(threshold, Tensor):
        threshold = threshold.unsqueeze(1)
    # A zero norm is divided by 1: its row stays 0.
    kept = (norms - threshold).clamp_min_(0).div_(norms.masked_fill(norms == 0, 1.0))
    block.mul_(kept)


def _weighted_(block: Tensor, step: Tensor, strength: Tensor | float) -> None:
    if isinstance(strength, Tensor):
        a = (step * strength.unsqueeze(1)).clamp_min_(torch.finfo(block.dtype).tiny)
    elif strength == 0:
        return
    else:
        a = step * strength
    size = linalg.vector_norm(block, dim=1, keepdim=True)
    # Lower bounds of the root: ‖u‖ less the largest, and less the weighted mean, of λt.
    root = size - a.amax(dim=1, keepdim=True)
    some_zero = not bool((root > 0).all())
    if some_zero:
        zero = linalg.vector_norm(block / a, dim=1, keepdim=True) <= 1
        # From this bound every ratio starts at 1 or below, so that no square overflows.
        root = root.maximum((block.abs() - a).amax(dim=1, keepdim=True)).clamp_min_(0)
    else:
        # No group is zero, because ‖u/(λt)‖ is at least ‖u‖ / max λt.
        mean = (block / size).square_().mul_(a).sum(dim=1, keepdim=True)
        root = root.maximum(size - mean)
    # Newton squares the error: the step after this accuracy is the last that can matter.
    accurate = 1 + torch.finfo(block.dtype).eps ** (2 / 3)
    shifted = a + root
    for _ in range(_ITERATIONS):
        ratio = block / shifted
        norm = linalg.vector_norm(ratio, dim=1, keepdim=True)
        # (‖r‖ − 1) · ‖r‖² / Σ r²/(s + λt): the Newton step of 1/‖r‖.
        slope = ratio.square_().div_(shifted).sum(dim=1, keepdim=True)
        rise = (norm - 1).mul_(norm.square()).div_(slope)
        if some_zero:
            rise.masked_fill_(zero, 0.0)
            norm.masked_fill_(zero, 0.0)
        root += rise
        torch.add(a, root, out=shifted)
        if bool(norm.amax() <= accurate):
            break
    if some_zero:
        root.masked_fill_(zero, 0.0)
    block.mul_(torch.div(root, shifted, out=shifted))
