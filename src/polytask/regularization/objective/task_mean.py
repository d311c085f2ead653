"""The pull of the tasks' weights to their mean, exact in any diagonal metric."""

from jaxtyping import Float
from torch import Tensor


def spread(block: Float[Tensor, "entries tasks"]) -> Float[Tensor, ""]:
    """½ Σ_t ‖w_t − w̄‖² with w̄ the mean over tasks."""
    deviations: Tensor = block - block.mean(dim=1, keepdim=True)
    return deviations.square().sum() / 2


def pull_to_mean_(
    block: Float[Tensor, "entries tasks"], step: Tensor | float, strength: float
) -> None:
    """Argmin over w of ½ Σ_t (w_t − u_t)² / s_t + (r/2) Σ_t (w_t − w̄)², per row, in place.

    With m the mean of the solution, w_t = (u_t + r s_t m) / (1 + r s_t). Its mean is m if
    m = Σ_t u_t/(1 + r s_t) / Σ_t 1/(1 + r s_t); with one step for all, m is the mean of u.

    Args:
        block: u, one column per task; overwritten by w.
        step: s, a number or of the block's shape; at least 0.
        strength: r, at least 0.
    """
    scaled = step * strength
    if not isinstance(scaled, Tensor):
        mean = block.mean(dim=1, keepdim=True)
        block.lerp_(mean.expand_as(block), scaled / (1 + scaled))
        return
    kept = (1 + scaled).reciprocal_()
    mean = (block * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True)
    # u + r s/(1 + r s) · (m − u): with s = 0 the entry stays as it is.
    block.lerp_(mean.expand_as(block), scaled.mul_(kept))
