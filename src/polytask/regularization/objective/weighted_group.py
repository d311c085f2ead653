"""The group soft threshold in a diagonal metric, exact, all groups at once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, linalg

from .scratch import Scratch

_ITERATIONS = 20
_CLEAR = 0.01


def group_threshold_(
    blocks: Sequence[Float[Tensor, "groups members"]],
    steps: Sequence[Tensor | float],
    strengths: Sequence[float],
    scratch: Scratch | None = None,
) -> None:
    """Argmin over w of ½ Σ_i (w_i − u_i)² / t_i + λ ‖w‖₂, per row of every block, in place.

    With a number t this is u · max(1 − λt/‖u‖, 0). With t per coordinate: w = 0 if and only if
    ‖u / (λt)‖ ≤ 1; otherwise w_i = u_i s / (s + λ t_i), where s = ‖w‖ is the one root of
    ‖u / (s + λt)‖ = 1. The left side's reciprocal is concave in s, so that Newton's method on it
    rises to the root without overshooting, from any start below. ‖u‖ less the mean of λt with
    weights u² is such a start (Jensen); where that is not clearly above 0, the group is near its
    threshold and is solved apart, with the other groups like it.

    Args:
        blocks: Matrices u, one group per row; overwritten by w.
        steps: t per block, a number or of the block's shape; positive.
        strengths: λ per block, at least 0; 0 leaves its block alone.
        scratch: Memory of earlier calls.

    Reference:
        Deleu & Bengio, Structured Sparsity Inducing Adaptive Optimizers for Deep Learning, 2021.
        https://arxiv.org/abs/2102.03869
    """
    scratch = scratch or Scratch()
    plain, thresholds = [], []
    for block, step, strength in zip(blocks, steps, strengths, strict=True):
        if isinstance(step, Tensor):
            if strength > 0:
                _weighted_(block, step, strength, scratch)
        elif strength * step > 0:
            plain.append(block)
            thresholds.append(strength * step)
    if plain:
        _plain_(plain, thresholds, scratch)


def _plain_(blocks: list[Tensor], thresholds: list[float], scratch: Scratch) -> None:
    """The case of a number, u · max(1 − c/‖u‖, 0): one call per operation for all blocks."""
    lengths = [_lengths(block, scratch) for block in blocks]
    ones = [scratch.number(1.0, block) for block in blocks]
    # A length of 0 makes the quotient infinite, and the factor 0.
    factors = list(torch._foreach_addcdiv(ones, ones, lengths, [-c for c in thresholds]))
    torch._foreach_clamp_min_(factors, 0.0)
    torch._foreach_mul_(blocks, factors)


def _lengths(block: Tensor, scratch: Scratch) -> Tensor:
    """‖u‖ of every row, ``[groups, 1]``."""
    if block.is_contiguous():
        lengths: Tensor = linalg.vector_norm(block, dim=1, keepdim=True)
        return lengths
    # Across strides, the sum of the squares takes a fifth of the norm's time.
    return torch.mul(block, block, out=scratch.like(block)).sum(dim=1, keepdim=True).sqrt_()


def _weighted_(block: Tensor, step: Tensor, strength: float, scratch: Scratch) -> None:
    tiny = torch.finfo(block.dtype).tiny
    cut, shifted, squares = (scratch.like(block, place) for place in range(3))
    torch.mul(step, strength, out=cut)
    torch.mul(block, block, out=squares)
    energy = squares.sum(dim=1, keepdim=True)
    size = energy.sqrt()
    # ‖u‖ less the mean of λt with weights u². A row of zeros is divided by the smallest number.
    mean = squares.mul_(cut).sum(dim=1, keepdim=True).div_(energy.clamp_min_(tiny))
    root = size - mean
    # False as well where squares overflow or are not numbers.
    clear = root >= size * _CLEAR
    rows = None if bool(clear.all()) else torch.nonzero(clear.logical_not_())[:, 0]
    if rows is not None:
        apart = block.index_select(0, rows)
        _near_zero_(apart, cut.index_select(0, rows))
        block.index_fill_(0, rows, 0.0)
        root.index_fill_(0, rows, 1.0)
    # With c the largest λt/‖u‖, the start is below the root by at most (3/8) c² ‖u‖, and the
    # weights that follow from it are within a part (3/8) c³ of the exact ones.
    largest = cut.amax(dim=1, keepdim=True)
    if bool((largest <= size.mul_(torch.finfo(block.dtype).eps ** (1 / 3))).all()):
        torch.add(cut, root, out=shifted)
    else:
        _rise_(root, block, cut, shifted, squares)
    block.mul_(torch.div(root, shifted, out=shifted))
    if rows is not None:
        block.index_copy_(0, rows, apart)


def _near_zero_(block: Tensor, cut: Tensor) -> None:
    """The same for any groups, zero ones among them, from a start that no overflow spoils."""
    zero = linalg.vector_norm(block / cut, dim=1) <= 1
    block.masked_fill_(zero.unsqueeze(1), 0.0)
    rows = (~zero).nonzero().squeeze(1)
    if len(rows) == 0:
        return
    part, cut = block.index_select(0, rows), cut.index_select(0, rows)
    # Lower bounds of the root. From the second every ratio starts at 1 or below.
    root = linalg.vector_norm(part, dim=1, keepdim=True) - cut.amax(dim=1, keepdim=True)
    root = root.maximum((part.abs() - cut).amax(dim=1, keepdim=True)).clamp_min_(0)
    shifted = torch.empty_like(part)
    _rise_(root, part, cut, shifted, torch.empty_like(part))
    block.index_copy_(0, rows, part.mul_(root / shifted))


def _rise_(root: Tensor, block: Tensor, cut: Tensor, shifted: Tensor, squares: Tensor) -> None:
    """Newton's method from a lower bound of the root; leaves s + λt in `shifted`."""
    # An error e leaves at most 1.5 e²/s, so that the step after this one cannot matter.
    accurate = (torch.finfo(block.dtype).eps / 3) ** 0.5
    tiny = torch.finfo(block.dtype).tiny
    torch.add(cut, root, out=shifted)
    for _ in range(_ITERATIONS):
        torch.div(block, shifted, out=squares)
        squares.mul_(squares)
        energy = squares.sum(dim=1, keepdim=True)
        slope = squares.div_(shifted).sum(dim=1, keepdim=True).clamp_min_(tiny)
        # (‖r‖ − 1) · ‖r‖² / Σ r²/(s + λt): the Newton step of 1/‖r‖; 0 for a row of zeros.
        rise = energy.sqrt().sub_(1).mul_(energy).div_(slope)
        root.add_(rise).clamp_min_(0)
        torch.add(cut, root, out=shifted)
        if not bool((rise > root.mul(accurate)).any()):
            break
