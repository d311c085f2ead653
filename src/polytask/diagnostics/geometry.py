"""How the tasks' gradients lie to each other, and who decides the update: sums over one epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask._checks import at_least, require

CANCELLED = 1e-4
"""Updates with ‖d‖² at most this part of Σ_k w_k² ‖g_k‖² are left out of the shares: the tasks
cancel each other, and what remains is divided by almost nothing. No share of an update that
counts exceeds 1/√CANCELLED = 100 in absolute value."""
WINDOW = 5
"""What is said of a run rests on so many epochs, the last of which is the kept one."""
TOGETHER = 32
"""Updates that are added up at once: one by one, a dozen small operations each would be felt."""
_SUMS = ("updates", "present", "norms", "pairs", "cosines", "conflicts", "decided", "shares")


@final
@dataclass(frozen=True)
class TaskGeometry:
    r"""How the gradients of the tasks lay to each other in the updates of one epoch.

    The Gramian :math:`G_{ij} = \langle g_i, g_j \rangle` of the task gradients at the shared
    weights and the weights :math:`w` of the update :math:`d = \sum_k w_k g_k` are all that it is
    computed from; nothing here costs a backward pass. Lists run over the tasks in the user's
    order; None means "not measured" or "never defined".

    Args:
        updates: Updates that were measured.
        present: Per task, the measured updates in which it had labels.
        norms: Root mean square of :math:`\|g_k\|` over the updates in which the task was present.
        cosines: Mean of :math:`G_{ij} / \sqrt{G_{ii} G_{jj}}` over the updates in which both tasks
            were present with gradients that are not zero; symmetric, 1 on the diagonal.
        conflicts: Share of those updates in which :math:`G_{ij} < 0`, in [0, 1]; 0 on the
            diagonal.
        shares: Mean of :math:`w_k (Gw)_k / w^\top G w`, the part of the update's squared length
            that comes from the task: negative where it was overruled. Over the updates in which
            the tasks do not cancel each other (`CANCELLED`); an absent task has share 0 there, so
            that the shares of all tasks add up to 1.
        flags: Fact about an update, such as ``"not-converged"`` → in how many it was reported.

    Example:
        >>> geometry = TaskGeometry(1, [1, 1], [3.0, 1.0], [[1.0, -0.5], [-0.5, 1.0]])
        >>> TaskGeometry.from_json(geometry.to_json()) == geometry
        True
    """

    updates: int
    present: list[int]
    norms: list[float | None]
    cosines: list[list[float | None]] = field(default_factory=list)
    conflicts: list[list[float | None]] = field(default_factory=list)
    shares: list[float | None] = field(default_factory=list)
    flags: dict[str, int] = field(default_factory=dict)

    @property
    def norms_only(self) -> bool:
        """Whether no cosine of two tasks is known although the matrix is there."""
        rows = enumerate(self.cosines)
        return bool(self.cosines) and all(
            value is None for i, row in rows for j, value in enumerate(row) if i != j
        )

    def without_pairs(self) -> Self:
        """The same without the two matrices: what many epochs of many tasks can afford to keep."""
        return replace(self, cosines=[], conflicts=[])

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN never occurs."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**document)


@final
class GeometrySums:
    r"""Adds up, update by update, what `TaskGeometry` tells of an epoch.

    Everything stays on the device of the Gramians: adding reads nothing back, so that an update
    does not wait for it; `summary` reads once. An update whose Gramian is not finite adds nothing.

    Args:
        num_tasks: K, at least 1.
        norms_only: Whether only the diagonal of the Gramians is known (methods that need norms
            alone). Cosines, conflicts and shares are then None: an entry that nobody computed is no
            orthogonality.
        device: Where the Gramians live; CPU by default.

    Shapes:
        gramian [tasks, tasks], weights [tasks], present [tasks]; state: three numbers per pair and
        four per task, float64.

    Raises:
        InvalidArgument: num_tasks is below 1; a tensor of another shape is added.

    Example:
        >>> import torch
        >>> sums = GeometrySums(2)
        >>> sums.add(torch.tensor([[4.0, -1.0], [-1.0, 1.0]]), torch.ones(2), torch.ones(2) > 0)
        >>> found = sums.summary()
        >>> found.norms, found.cosines[0][1], found.conflicts[0][1], found.shares
        ([2.0, 1.0], -0.5, 1.0, [1.0, 0.0])

    Note:
        The means are over updates, each counting the same, whatever the number of its rows. Means
        of cosines under sampling noise are pulled towards zero: rows of a batch that differ from
        the mean gradient of their task point anywhere.

    Reference:
        Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020, section 2.3
        (conflicting gradients: negative inner product), https://arxiv.org/abs/2001.06782
    """

    updates: Tensor
    present: Tensor
    norms: Tensor
    pairs: Tensor
    cosines: Tensor
    conflicts: Tensor
    decided: Tensor
    shares: Tensor

    def __init__(
        self,
        num_tasks: int,
        *,
        norms_only: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        at_least("num_tasks", num_tasks, 1)
        self.num_tasks = num_tasks
        self.norms_only = norms_only
        self.flags: dict[str, int] = {}
        vector, matrix = (num_tasks,), (num_tasks, num_tasks)
        shapes: Sequence[tuple[int, ...]] = (
            (), vector, vector, matrix, matrix, matrix, (), vector
        )  # fmt: skip
        for name, shape in zip(_SUMS, shapes, strict=True):
            setattr(self, name, torch.zeros(shape, dtype=torch.float64, device=device))
        self.waiting = torch.zeros(TOGETHER, num_tasks, num_tasks + 2, dtype=torch.float64,
                                   device=device)  # fmt: skip
        """Updates that were not added up yet: Gramian, weights, presence, side by side."""
        self._count = 0

    @torch.no_grad()
    def add(
        self,
        gramian: Float[Tensor, "tasks tasks"],
        weights: Float[Tensor, " tasks"],
        present: Bool[Tensor, " tasks"],
        flags: frozenset[str] = frozenset(),
    ) -> None:
        """Adds one update.

        Args:
            gramian: Inner products of the task gradients, unscaled; rows of absent tasks are not
                looked at.
            weights: Of the update; NaN for a method that combines coordinates, which then has no
                shares.
            present: Tasks that had labels.
            flags: Facts about the update.
        """
        size = (self.num_tasks, self.num_tasks)
        require(gramian.shape == size, "gramian", f"have the shape {size}", tuple(gramian.shape))
        for flag in flags:
            self.flags[flag] = self.flags.get(flag, 0) + 1
        place = self.waiting[self._count]
        place[:, : self.num_tasks].copy_(gramian)
        place[:, -2].copy_(weights)
        place[:, -1].copy_(present)
        self._count += 1
        if self._count == TOGETHER:
            self._fold()

    @torch.no_grad()
    def _fold(self) -> None:
        """Adds up the updates that wait: a dozen operations, whatever their number."""
        waiting, self._count = self.waiting[: self._count], 0
        here = waiting[:, :, -1] > 0
        both = here[:, :, None] & here[:, None, :]
        products = torch.where(both, waiting[:, :, : self.num_tasks], 0.0)
        finite = products.isfinite().flatten(1).all(1)
        products = torch.where(finite[:, None, None], products, 0.0)
        here, both = here & finite[:, None], both & finite[:, None, None]
        squares = products.diagonal(dim1=1, dim2=2)
        self.updates += finite.sum()
        self.present += here.sum(0)
        self.norms += squares.sum(0)
        if self.norms_only:
            return
        lengths = squares.clamp(min=0.0).sqrt()
        areas = lengths[:, :, None] * lengths[:, None, :]
        known = both & (areas > 0)
        cosines = (products / areas).clamp(-1.0, 1.0)
        self.pairs += known.sum(0)
        self.cosines += torch.where(known, cosines, 0.0).sum(0)
        self.conflicts += (known & (products < 0)).sum(0)
        used = torch.where(here, waiting[:, :, -2], 0.0)
        parts = used * torch.matmul(products, used[:, :, None])[:, :, 0]
        total = parts.sum(1)
        # NaN weights make the comparison false, as does an update of length zero.
        counts = total > CANCELLED * (used.square() * squares).sum(1)
        self.decided += counts.sum()
        self.shares += torch.where(counts[:, None], parts / total[:, None], 0.0).sum(0)

    def summary(self) -> TaskGeometry:
        """The numbers of the updates so far, read from the device; six digits are kept."""
        if self._count:
            self._fold()
        present = self.present.tolist()
        norms = (self.norms / self.present).sqrt()
        cosines: list[list[float | None]] = []
        conflicts: list[list[float | None]] = []
        if self.norms_only:
            cosines = [[None] * self.num_tasks for _ in present]
            conflicts = [[None] * self.num_tasks for _ in present]
        else:
            cosines = [_plain(row) for row in (self.cosines / self.pairs).tolist()]
            conflicts = [_plain(row) for row in (self.conflicts / self.pairs).tolist()]
        return TaskGeometry(
            updates=int(self.updates),
            present=[int(count) for count in present],
            norms=_plain(norms.tolist()),
            cosines=cosines,
            conflicts=conflicts,
            shares=_plain((self.shares / self.decided).tolist()),
            flags=dict(sorted(self.flags.items())),
        )

    def reset(self) -> None:
        """Starts a new epoch."""
        self.flags = {}
        self._count = 0
        for name in _SUMS:
            getattr(self, name).zero_()

    def state_dict(self) -> dict[str, Any]:
        """The sums as they are, not copied, the updates that wait, and the counts of the flags."""
        state = {name: getattr(self, name) for name in _SUMS}
        return state | {"waiting": self.waiting[: self._count], "flags": dict(self.flags)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`; the tensors stay on the device of this object.

        Raises:
            InvalidArgument: The state has other names, or is of another number of tasks.
        """
        names = {*_SUMS, "waiting", "flags"}
        require(set(state_dict) == names, "state_dict", f"hold {sorted(names)}", sorted(state_dict))
        for name in _SUMS:
            mine, given = getattr(self, name), torch.as_tensor(state_dict[name])
            rule = f"have the shape {tuple(mine.shape)}"
            require(given.shape == mine.shape, f"state_dict[{name!r}]", rule, tuple(given.shape))
        for name in _SUMS:
            getattr(self, name).copy_(torch.as_tensor(state_dict[name]))
        waiting = torch.as_tensor(state_dict["waiting"])
        self._count = len(waiting)
        self.waiting[: self._count].copy_(waiting)
        self.flags = {str(flag): int(count) for flag, count in state_dict["flags"].items()}


def _plain(values: Sequence[float]) -> list[float | None]:
    """Numbers with six digits, None for what is not one."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
