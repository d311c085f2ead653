"""GradDrop: gradient sign dropout."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from polytask._checks import require
from polytask._random import RandomSource

from .base import GradientAggregator, Update


@final
class GradDrop(GradientAggregator):
    """Keeps, per coordinate, only the gradients of one sign, drawn by how much agrees with it.

        P = ½ (1 + Σ_k g_k / Σ_k |g_k|),     U ~ Uniform(0, 1)
        M_k = 1[P > U] 1[g_k > 0] + 1[P < U] 1[g_k < 0]
        d = Σ_k (ℓ_k + (1 - ℓ_k) M_k) g_k

    all per coordinate. Where the tasks agree nothing is dropped; where they conflict, one side
    wins. The expectation of d is Σ_k g_k. Scale: sum.

    Args:
        leak: ℓ_k in [0, 1], the share of each task's gradient that is never dropped, one number per
            task. Default: 0 for all.
        seed: Seed of the generator that draws U; it is part of the state.

    Shapes:
        jacobian [tasks, params] → update [params].

    Raises:
        InvalidArgument: a leak is outside [0, 1], or their number is not that of the tasks.

    Example:
        >>> import torch
        >>> GradDrop()(torch.tensor([[1.0, 2.0, -1.0], [3.0, -2.0, 0.0]]))[0]
        tensor(4.)

    Note:
        The form on the gradients of the parameters. The paper's first form acts on the gradients of
        a shared activation, multiplied by its sign and summed over the batch. A coordinate in which
        all gradients vanish stays zero, where the formula is 0/0.

    Reference:
        Chen et al., "Just pick a sign: optimizing deep multitask models with gradient sign
        dropout", NeurIPS 2020, Eq. 1 and Algorithm 1, https://arxiv.org/abs/2010.06808
    """

    guarantees = frozenset({"homogeneous"})
    scale = "sum"
    draws = True
    paper = "Chen et al. 2020, https://arxiv.org/abs/2010.06808"

    def __init__(self, leak: Sequence[float] | None = None, seed: int = 0) -> None:
        super().__init__()
        valid = leak is None or all(0.0 <= share <= 1.0 for share in leak)
        require(valid, "leak", "hold numbers between 0 and 1", leak)
        self.leak = None if leak is None else tuple(leak)
        self.random = RandomSource(seed)

    def combine(
        self, jacobian: Tensor, losses: Tensor | None, tasks: Tensor, num_tasks: int
    ) -> Update:
        """One draw per coordinate."""
        # Sums are taken relative to the largest entry, or 1e-30 and 1e30 would leave float32.
        unit = jacobian.abs().amax()
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        relative = jacobian / unit
        total, absolute = relative.sum(0), relative.abs().sum(0)
        zero = absolute == 0
        purity = 0.5 * (1.0 + total / torch.where(zero, torch.ones_like(absolute), absolute))
        precise = torch.promote_types(jacobian.dtype, torch.float32)
        draw = self.random.uniform(len(purity), dtype=precise).to(purity.device)
        positive = purity > draw
        kept = torch.where(positive, relative.clamp(min=0).sum(0), relative.clamp(max=0).sum(0))
        if self.leak is not None:
            require(
                len(self.leak) == num_tasks,
                "leak",
                f"hold one number for each of the {num_tasks} tasks",
                self.leak,
            )
            leak = torch.tensor(self.leak, dtype=precise, device=relative.device)[tasks, None]
            survivors = torch.where(positive, relative > 0, relative < 0)
            kept = ((leak + (1.0 - leak) * survivors) * relative).sum(0).to(relative.dtype)
        return Update(kept * unit)

    def reset(self) -> None:
        """Starts the generator again at its seed."""
        super().reset()
        self.random.reset()
