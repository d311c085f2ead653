"""Hard-concrete gates: which input columns a network reads, learned with its weights (L0)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polytask._checks import positive, require
from polytask.optim.roles import Kind

TEMPERATURE = 2 / 3
"""β of the paper."""

LOW, HIGH = -0.1, 1.1
"""γ and ζ: the interval to which a concrete variable is stretched before it is cut to [0, 1]."""


@final
@dataclass(frozen=True)
class L0Gates:
    """A price on every column that a backbone reads; an argument of `MLP` and its like.

    Args:
        strength: λ, positive: what a gate that is surely open adds to the objective. 1e-3 to 1e-1.
        dropped: Probability r at the start that a draw of a gate is below one half, in (0, 1):
            log α = log((1 − r)/r).
        columns: Groups of numeric inputs that encode one column of the table and have one gate.
            Inputs that are named nowhere have a gate each, as all category columns have.

    Raises:
        InvalidArgument: If a number is out of range.

    Example:
        >>> L0Gates(0.05).describe()
        '0.05 for every input column that is read (L0)'
    """

    strength: float = 0.01
    dropped: float = 0.2
    columns: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        positive("strength", self.strength)
        require(0 < self.dropped < 1, "dropped", "be above 0 and below 1", self.dropped)
        object.__setattr__(self, "columns", tuple(tuple(group) for group in self.columns))

    def describe(self) -> str:
        """The price, in words."""
        return f"{self.strength:g} for every input column that is read (L0)"


@final
class HardConcrete(nn.Module):
    r"""Random gates in [0, 1] that are exactly 0 and exactly 1 with a probability that is learned.

    In train mode, with u uniform on (0, 1) for every row and gate,

    .. math::
        s = \sigma((\log u - \log(1 - u) + \log\alpha)/\beta), \quad
        z = \min(1, \max(0, s(\zeta - \gamma) + \gamma)),

    β = 2/3, γ = −0.1, ζ = 1.1. A gate is not 0 with probability
    :math:`\sigma(\log\alpha - \beta\log(-\gamma/\zeta))`; the sum of these over the gates is the
    expected number of open ones, their L0 norm. In eval mode
    :math:`z = \min(1, \max(0, \sigma(\log\alpha)(\zeta - \gamma) + \gamma))`, without a draw.

    Args:
        count: Gates, at least 1.
        dropped: Starts log α at log((1 − dropped)/dropped), in (0, 1).

    Shapes:
        output: ``[rows, count]`` in train mode, ``[1, count]`` in eval mode.

    Raises:
        InvalidArgument: If an argument is out of range.

    Example:
        >>> gates = HardConcrete(2).eval()
        >>> _ = gates.log_alpha.data.copy_(torch.tensor([4.0, -4.0]))
        >>> gates(3), gates.closed()
        (tensor([[1., 0.]], grad_fn=<ClampBackward1>), tensor([False,  True]))

    Note:
        The draws differ from row to row, as with ``local_rep`` of the authors' code, and log α is
        not clamped.

    Reference:
        Louizos, Welling & Kingma, Learning Sparse Neural Networks through L0 Regularization, ICLR
        2018, equations 10 to 13. https://arxiv.org/abs/1712.01312
    """

    def __init__(self, count: int, dropped: float = 0.2) -> None:
        super().__init__()
        require(count >= 1, "count", "be at least 1", count)
        require(0 < dropped < 1, "dropped", "be above 0 and below 1", dropped)
        start = math.log(1 - dropped) - math.log(dropped)
        self.log_alpha = nn.Parameter(torch.full((count,), start))

    def parameter_kinds(self) -> dict[str, Kind]:
        """Neither decayed nor penalised."""
        return {"log_alpha": Kind.SCALAR}

    def forward(self, rows: int) -> Float[Tensor, "_ count"]:
        """Gates for so many rows."""
        logits = self.log_alpha.unsqueeze(0)
        if self.training:
            uniform = torch.rand(rows, logits.shape[1], device=logits.device, dtype=logits.dtype)
            logits = (torch.logit(uniform) + logits) / TEMPERATURE
        return (torch.sigmoid(logits) * (HIGH - LOW) + LOW).clamp(0, 1)

    def active(self) -> Float[Tensor, " count"]:
        """Probability of every gate to be open while training."""
        return torch.sigmoid(self.log_alpha - TEMPERATURE * math.log(-LOW / HIGH))

    @torch.no_grad()
    def closed(self) -> Bool[Tensor, " count"]:
        """Which gates are exactly zero in eval mode."""
        return torch.sigmoid(self.log_alpha) * (HIGH - LOW) + LOW <= 0


@final
class InputGates(nn.Module):
    """One hard-concrete gate on everything that encodes one column of the table.

    Args:
        gates: Price, start, and which numeric inputs belong together.
        widths: Features of every input: 1 of a number, the embedding's of a category.

    Shapes:
        rows: ``[rows, sum of the widths]``, to the same shape.

    Raises:
        InvalidArgument: If a group is empty, or names an input twice or one that is not there.

    Example:
        >>> gates = InputGates(L0Gates(columns=((0, 2),)), [1, 1, 1, 4])
        >>> gates.groups
        ((0, 2), (1,), (3,))
    """

    owner: Tensor

    def __init__(self, gates: L0Gates, widths: Sequence[int]) -> None:
        super().__init__()
        named = [place for group in gates.columns for place in group]
        require(
            all(len(group) > 0 for group in gates.columns)
            and len(set(named)) == len(named)
            and all(0 <= place < len(widths) for place in named),
            "columns",
            f"hold non-empty groups of inputs below {len(widths)}, every one once",
            gates.columns,
        )
        alone = [(place,) for place in range(len(widths)) if place not in set(named)]
        self.groups: tuple[tuple[int, ...], ...] = tuple(sorted([*gates.columns, *alone]))
        self.strength = gates.strength
        self.gate = HardConcrete(len(self.groups), gates.dropped)
        of = {place: number for number, group in enumerate(self.groups) for place in group}
        owner = [of[place] for place, width in enumerate(widths) for _ in range(width)]
        self.register_buffer("owner", torch.tensor(owner), persistent=False)

    def forward(self, rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """Every feature times the gate of its column."""
        gates: Tensor = self.gate(len(rows))
        return rows * gates[:, self.owner]

    def penalty(self) -> Tensor:
        """λ times the expected number of open gates."""
        return self.strength * self.gate.active().sum()
