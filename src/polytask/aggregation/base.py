"""The contracts of gradient aggregation: a Gramian or a Jacobian in, weights or an update out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from polytask._linalg import NON_FINITE, Array, Solution
from polytask.errors import InvalidArgument

GUARANTEES: Mapping[str, str] = {
    "non-conflicting": "no task's loss increases along the update: g_kᵀd ≥ 0 for every task",
    "non-negative-weights": "every weight is at least zero",
    "weights-sum-to-one": "the weights of the present tasks sum to one",
    "linear-under-scaling": "multiplying g_k by c_k > 0 changes the update linearly in c",
    "scale-invariant": "multiplying g_k by c_k > 0 leaves the update as it is",
    "line-invariant": "multiplying g_k by c_k > 0 leaves the line of the update as it is",
    "homogeneous": "multiplying all gradients by one c > 0 leaves the line of the update as it is",
}
"""What a method may promise; `polytask.testing` checks every promise."""

ABSENT = "no-tasks"
"""Flag: no task had labels; the weights are zero."""


class Aggregator(nn.Module, ABC):
    """What `GramianAggregator` and `GradientAggregator` have in common: facts, flags and state.

    The facts are attributes of the class, so that tables and documents are made from the methods
    themselves; wrappers copy them from the method that they wrap.

    Attributes:
        guarantees: Promises that hold for every input, keys of `GUARANTEES`.
        scale: "sum" (weights near 1: the update grows with the number of tasks), "mean" (near
            1/tasks) or "fixed-norm" (the length of the update does not depend on the gradients).
            Between "sum" and "mean" the effective learning rate differs by the number of tasks.
        cost: What an update costs: "one-backward", "task-gradients" (one gradient per task, reduced
            to inner products at once) or "task-gradients-kept" (all of them in memory together).
        needs_losses: Whether `forward` must be given the losses.
        draws: Whether random numbers are used.
        paper: Authors, year and link, or "" for a baseline.
        flags: Facts about the last call, such as "stationary"; not part of the state.
    """

    guarantees: frozenset[str] = frozenset()
    scale: Literal["sum", "mean", "fixed-norm"] = "mean"
    cost: Literal["one-backward", "task-gradients", "task-gradients-kept"] = "task-gradients"
    needs_losses: bool = False
    draws: bool = False
    paper: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.flags: frozenset[str] = frozenset()
        self._memory: list[str] = []

    def remember(self, name: str) -> None:
        """Registers a buffer, empty until the number of tasks is known, that resumes exactly.

        Unlike an ordinary buffer it may change its shape while a state is loaded, so that
        ``state_dict()`` of any moment loads strictly into a fresh instance.
        """
        self.register_buffer(name, torch.empty(0, dtype=torch.float64))
        self._memory.append(name)

    def forget(self) -> None:
        """Empties every buffer that was registered by `remember`."""
        for name in self._memory:
            setattr(self, name, torch.empty(0, dtype=torch.float64))

    def reset(self) -> None:
        """Restores the state of a fresh instance."""
        self.forget()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for name in self._memory:
            incoming = state_dict.get(prefix + name)
            if incoming is not None:
                setattr(self, name, torch.empty_like(incoming))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _require_losses(self, losses: Tensor | None) -> None:
        if self.needs_losses and losses is None:
            raise InvalidArgument(
                f"`losses` must be given to {type(self).__name__}, which weighs tasks by them."
            )


class Problem(NamedTuple):
    """What one update asks, on the host, in float64, without absent tasks.

    Attributes:
        gramian: Inner products of the gradients, [present, present], finite and symmetric.
        losses: [present], finite, or None if the method does not need them.
        tasks: Positions of the present tasks in the user's order, [present].
        num_tasks: Number of all tasks, for methods that remember something about each of them.
        precision: Machine epsilon of the precision in which `gramian` was accumulated: rank and
            stationarity are judged by it.
    """

    gramian: Array
    losses: Array | None
    tasks: NDArray[np.int64]
    num_tasks: int
    precision: float


class GramianAggregator(Aggregator, ABC):
    """Task weights from the inner products of the task gradients.

    A subclass writes `weigh`; `forward` does for all of them what must never differ: one copy to
    the host and back, absent tasks taken out before any formula sees them (weight 0, state
    untouched), and non-finite input answered by NaN weights before any state moves.

    Its state lives on the host in float64, whatever ``.to(...)`` is called on the model around it:
    the problems are tiny, and solving them there costs the one copy that is made anyway.

    Attributes:
        needs: What the engine must compute: "none" (`ready_weights` always answers), the diagonal
            of the Gramian ("norms"), all of it, or that of two mini-batches ("cross").
        accumulated_in: Set by an engine that hands over a float64 Gramian of float32 gradients;
            None: the dtype of the Gramian tells.
    """

    needs: Literal["none", "norms", "gramian", "cross"] = "gramian"
    accumulated_in: torch.dtype | None = None

    def forward(
        self,
        gramian: Float[Tensor, "tasks tasks"],
        losses: Float[Tensor, " tasks"] | None = None,
        present: Bool[Tensor, " tasks"] | None = None,
    ) -> Float[Tensor, " tasks"]:
        """Gramian of the task gradients → task weights; the update is Σ weight · gradient.

        Args:
            gramian: G_ij = g_iᵀg_j; for ``needs = "norms"`` only its diagonal is read.
            losses: Loss of each task, for methods with `needs_losses`.
            present: False for a task without labels in this update; None means all present.

        Returns:
            Weights on the device and in the dtype of `gramian`; 0 for absent tasks, NaN for the
            others if anything is not finite.
        """
        self._require_losses(losses)
        used = losses if self.needs_losses else None
        host, host_losses, tasks = _to_host(gramian, used, present)
        weights = np.zeros(gramian.shape[0])
        if not tasks.size:
            self.flags = frozenset({ABSENT})
        elif not _all_finite(host, host_losses):
            weights[tasks] = np.nan
            self.flags = frozenset({NON_FINITE})
        else:
            precision = float(torch.finfo(self.accumulated_in or gramian.dtype).eps)
            problem = Problem(host, host_losses, tasks, gramian.shape[0], precision)
            solution = self.weigh(problem)
            weights[tasks] = solution.weights
            self.flags = solution.flags
        return torch.from_numpy(weights).to(device=gramian.device, dtype=gramian.dtype)

    @abstractmethod
    def weigh(self, problem: Problem) -> Solution:
        """Weights of the present tasks; moves the state, if there is one."""

    def ready_weights(
        self,
        present: Bool[Tensor, " tasks"],
    ) -> Float[Tensor, " tasks"] | None:
        """Weights that need no gradients this time, or None; counts as the call of this update.

        An engine asks this first and, if it is answered, runs one backward of the weighted sum.
        """
        return None

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Keeps the state on the host and in float64."""
        return self


class Update(NamedTuple):
    """What a `GradientAggregator` makes of a Jacobian.

    Attributes:
        direction: The update, [params].
        weights: [present] if the direction is a weighted sum of the rows, else None.
        flags: As in `Solution`.
    """

    direction: Tensor
    weights: Tensor | None = None
    flags: frozenset[str] = frozenset()


class GradientAggregator(Aggregator, ABC):
    """The update from the coordinates of the task gradients.

    A subclass writes `combine`; `forward` handles absent tasks and non-finite input once.

    Attributes:
        weights: Task weights of the last call, [tasks], if its update was a weighted sum of the
            gradients, or of what the method remembers of them, else None; not part of the state.
    """

    cost = "task-gradients-kept"

    def __init__(self) -> None:
        super().__init__()
        self.weights: Tensor | None = None

    def forward(
        self,
        jacobian: Float[Tensor, "tasks params"],
        losses: Float[Tensor, " tasks"] | None = None,
        present: Bool[Tensor, " tasks"] | None = None,
    ) -> Float[Tensor, " params"]:
        """One gradient per row → the update.

        Args:
            jacobian: g_k in row k.
            losses: Loss of each task, for methods with `needs_losses`.
            present: False for a task without labels in this update; None means all present.

        Returns:
            The update; zero if no task is present, NaN if anything is not finite.
        """
        self._require_losses(losses)
        self.weights = None
        num_tasks = jacobian.shape[0]
        tasks = torch.arange(num_tasks, device=jacobian.device)
        rows = jacobian.detach()
        used = losses.detach() if losses is not None and self.needs_losses else None
        if present is not None and not bool(present.all()):
            tasks = tasks[present.to(tasks.device)]
            rows = rows[tasks]
            used = None if used is None else used[tasks]
        if not len(tasks):
            self.flags = frozenset({ABSENT})
            return jacobian.new_zeros(jacobian.shape[1])
        finite = torch.isfinite(rows).all()
        if used is not None:
            finite = finite & torch.isfinite(used).all()
        if not bool(finite):
            self.flags = frozenset({NON_FINITE})
            return jacobian.new_full((jacobian.shape[1],), torch.nan)
        update = self.combine(rows, used, tasks, num_tasks)
        self.flags = update.flags
        if update.weights is not None:
            self.weights = jacobian.new_zeros(num_tasks)
            self.weights[tasks] = update.weights.to(self.weights)
        return update.direction

    @abstractmethod
    def combine(
        self, jacobian: Tensor, losses: Tensor | None, tasks: Tensor, num_tasks: int
    ) -> Update:
        """The update from the present rows; moves the state, if there is one.

        Args:
            jacobian: [present, params], finite.
            losses: [present], finite, or None if the method does not need them.
            tasks: Positions of the present tasks in the user's order, [present].
            num_tasks: Number of all tasks.
        """


def _to_host(
    gramian: Tensor, losses: Tensor | None, present: Tensor | None
) -> tuple[Array, Array | None, NDArray[np.int64]]:
    """The present part of the input as float64 arrays, through a single copy from the device."""
    size = gramian.shape[0]
    parts = [gramian.detach().to(torch.float64).reshape(-1)]
    if losses is not None:
        parts.append(losses.detach().to(torch.float64))
    if present is not None:
        parts.append(present.to(device=gramian.device, dtype=torch.float64))
    flat = (torch.cat(parts) if len(parts) > 1 else parts[0]).cpu().numpy()
    matrix = flat[: size * size].reshape(size, size)
    values = None if losses is None else flat[size * size : size * size + size]
    if present is None:
        tasks = np.arange(size)
    else:
        tasks = np.flatnonzero(flat[-size:])
        matrix = matrix[np.ix_(tasks, tasks)]
        values = None if values is None else values[tasks]
    # Sums in another order may have left the two triangles a rounding error apart.
    return 0.5 * (matrix + matrix.T), values, tasks


def _all_finite(gramian: Array, losses: Array | None) -> bool:
    return bool(np.isfinite(gramian).all()) and (losses is None or bool(np.isfinite(losses).all()))
