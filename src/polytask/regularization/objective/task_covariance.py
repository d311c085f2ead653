"""How the tasks are related, learned together with their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, linalg

from polytask._checks import at_least, require
from polytask.optim.roles import Selector

from .base import Acts, Layout, Penalty
from .quadratic import Quadratic
from .select import heads
from .soft import total

_SMOOTHING = 1e-6


@final
@dataclass(eq=False)
class TaskCovariance(Penalty):
    """(λ/2) tr(W Ω⁻¹ Wᵀ): tasks that turn out to be related share what they learn.

    W holds the weights of the tasks' heads, one column per task; Ω is their covariance, learned:
    for given weights the best one of trace 1 is Ω = (WᵀW)^½ / tr (WᵀW)^½, with which the penalty is
    (λ/2) ‖W‖_*², half the squared sum of the singular values. Nobody has to say which tasks are
    alike, unlike tasks do not hurt each other, and opposite ones (negative covariance) help.
    Ω starts at I/T, where the penalty is a ridge, and is renewed from the weights every so many
    updates; in between the proximal step for the given Ω is exact, for SGD and for Adam.

    Args:
        strength: λ, at least 0, on the scale of the objective.
        every: Updates after which Ω is renewed.
        selector: Which weights; default: the heads of all tasks. Heads of one size have one Ω.

    Raises:
        InvalidArgument: If `strength` is negative or `every` below 1.

    Example:
        >>> penalty = TaskCovariance(1.0)
        >>> weights = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
        >>> penalty.start([weights])
        >>> round(float(penalty.value([weights])), 4)
        10.0
        >>> covariance(weights).round(decimals=2).tolist()
        [[0.5, 0.5], [0.5, 0.5]]

    Note:
        A millionth of the mean squared singular value is added under the root, so that directions
        without weights can be learned later and Ω has an inverse. Biases are not penalised.

    Reference:
        Zhang & Yeung, A Convex Formulation for Learning Task Relationships in Multi-Task Learning,
        UAI 2010. https://arxiv.org/abs/1203.3536
    """

    strength: float
    every: int = 10
    selector: Selector = field(default_factory=heads)

    acts: ClassVar[Acts] = "prox"
    layout: ClassVar[Layout] = "tasks"

    def __post_init__(self) -> None:
        at_least("strength", self.strength, 0)
        whole = isinstance(self.every, int) and self.every >= 1
        require(whole, "every", "be a whole number, at least 1", self.every)
        self._names: list[tuple[str, ...]] = []
        self._matrices: list[Tensor] = []
        self._forms: list[Quadratic] = []
        self._updates = 0

    def columns(self, tasks: Sequence[tuple[str, ...]]) -> None:
        """Keeps the names, for the report; of unknown tasks the places."""
        self._names = [
            tuple(name or f"no. {place}" for place, name in enumerate(names, 1)) for names in tasks
        ]

    def start(self, blocks: Sequence[Float[Tensor, "entries tasks"]]) -> None:
        """Ω = I/T."""
        self._updates = 0
        counts = [block.shape[1] for block in blocks]
        self._use([torch.eye(count, dtype=torch.float64) / count for count in counts])

    def value(self, blocks: Sequence[Float[Tensor, "entries tasks"]]) -> Float[Tensor, ""]:
        """(λ/2) tr(W Ω⁻¹ Wᵀ) with the Ω of now."""
        pairs = zip(self._forms, blocks, strict=True)
        return self.strength * total([form.energy(block) for form, block in pairs])

    def prox_(
        self, blocks: Sequence[Float[Tensor, "entries tasks"]], steps: Sequence[Tensor | float]
    ) -> None:
        """The exact step for Ω; then, every so many updates, the exact Ω for the weights."""
        for form, block, step in zip(self._forms, blocks, steps, strict=True):
            form.prox_(block, step, self.strength)
        self._updates += 1
        if self._updates % self.every == 0:
            self._use([covariance(block) for block in blocks])

    def _use(self, matrices: Sequence[Tensor]) -> None:
        self._matrices = list(matrices)
        self._forms = [Quadratic(linalg.inv(matrix)) for matrix in matrices]

    def learned(self, blocks: Sequence[Float[Tensor, "entries tasks"]]) -> str:
        """The strongest correlations between tasks, from the weights as they are."""
        found: list[tuple[float, str, str]] = []
        for names, block in zip(self._names, blocks, strict=True):
            matrix = covariance(block)
            scale = matrix.diagonal().sqrt()
            correlation = (matrix / scale / scale.unsqueeze(1)).tolist()
            found += [
                (correlation[i][j], names[i], names[j])
                for i in range(len(names))
                for j in range(i + 1, len(names))
            ]
        found.sort(key=lambda pair: -abs(pair[0]))
        shown = ", ".join(f"{first}–{second} {value:+.2f}" for value, first, second in found[:6])
        more = f", … ({len(found)} pairs)" if len(found) > 6 else ""
        return f"learned correlations of the heads: {shown}{more}" if found else ""

    def describe(self) -> str:
        """In words, with λ."""
        return (
            f"task covariance: ({self.strength:g}/2) tr(W Ω⁻¹ Wᵀ), Ω learned, renewed every "
            f"{self.every} updates"
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Ω per block, and the number of updates."""
        kept = {str(index): matrix for index, matrix in enumerate(self._matrices)}
        return {"updates": torch.tensor(self._updates), **kept}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back Ω.

        Raises:
            InvalidArgument: If it belongs to other weights.
        """
        needed = {key: tuple(value.shape) for key, value in self.state_dict().items()}
        given = {key: tuple(value.shape) for key, value in state.items()}
        require(given == needed, "state", f"hold task covariances of the shapes {needed}", given)
        self._updates = int(state["updates"])
        self._use([state[str(index)].double().cpu() for index in range(len(self._matrices))])


def covariance(block: Float[Tensor, "entries tasks"]) -> Float[Tensor, "tasks tasks"]:
    """(WᵀW)^½ / tr (WᵀW)^½ in double precision on the CPU; I/T for weights that are all 0.

    Args:
        block: W, one column per task.

    Example:
        >>> covariance(torch.zeros(3, 2)).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    wide = block.detach().to("cpu", torch.float64)
    values, vectors = linalg.eigh(wide.mT @ wide)
    mean = float(values.clamp_min(0).mean())
    # Of weights that are all 0 every direction counts the same.
    sizes = (values.clamp_min(0) / mean if mean > 0 else values.new_zeros(len(values))) + _SMOOTHING
    sizes = sizes.sqrt()
    matrix: Tensor = (vectors * (sizes / sizes.sum())) @ vectors.mT
    return matrix
