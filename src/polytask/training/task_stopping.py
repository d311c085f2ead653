"""Stopping rules that follow every task by itself.

Each keeps, like `Regret`, the epoch of the best compromise; they differ in when the run ends and
in what happens to a task that has stopped improving. A task is *settled* when its own best epoch
is `patience` epochs old, and stays so; ties count as better. A task without labels among the
validation rows has no vote.
"""

from abc import abstractmethod
from typing import Any, final

from polytask._checks import at_least

from .stopping import Losses, Stopping, mean_over_baseline


class TaskStopping(Stopping):
    """Base class: counts, per task, the epochs since its own best one.

    Args:
        patience: Epochs without improvement before a task is settled.
    """

    patience: int

    def __init__(self, patience: int = 16) -> None:
        super().__init__()
        at_least("patience", patience, 1)
        self.patience = patience
        self._best: list[float | None] = []
        self._waited: list[int] = []
        self._settled: list[bool] = []

    def score(self, losses: Losses, baseline: Losses) -> float:
        """The regret, as `Regret` measures it."""
        return mean_over_baseline(losses, baseline)

    def update(self, losses: Losses, baseline: Losses) -> bool:
        """Records an epoch, in all and per task; True if it is the best compromise so far."""
        self._count(losses)
        return super().update(losses, baseline)

    def _count(self, losses: Losses) -> None:
        if not self._best:
            self._best = [None] * len(losses)
            self._waited = [0] * len(losses)
            self._settled = [False] * len(losses)
        for task, loss in enumerate(losses):
            if loss is None:
                continue
            best = self._best[task]
            if best is None or loss <= best:
                self._best[task], self._waited[task] = loss, 0
            else:
                self._waited[task] += 1
                self._settled[task] |= self._waited[task] >= self.patience

    @property
    def settled(self) -> tuple[bool, ...]:
        """Per task, whether it has stopped improving for good."""
        return tuple(self._settled)

    @property
    def votes(self) -> list[bool]:
        """The settled flags of the tasks that have validation labels."""
        return [s for s, best in zip(self._settled, self._best, strict=True) if best is not None]

    @property
    @abstractmethod
    def stop(self) -> bool:
        """Whether the run ends."""

    def state_dict(self) -> dict[str, Any]:
        """Scores, and per task the best loss, the epochs since, and whether it is settled."""
        return {
            **super().state_dict(),
            "best": list(self._best),
            "waited": list(self._waited),
            "settled": list(self._settled),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        super().load_state_dict(state_dict)
        self._best = list(state_dict["best"])
        self._waited = [int(waited) for waited in state_dict["waited"]]
        self._settled = [bool(settled) for settled in state_dict["settled"]]


@final
class AnyTask(TaskStopping):
    """Stops as soon as one task is settled: the cautious rule.

    Args:
        patience: Epochs without improvement before a task is settled.

    Example:
        >>> rule = AnyTask(patience=2)
        >>> for losses in ([0.9, 0.9], [0.8, 0.8], [0.7, 0.9], [0.6, 1.0]):
        ...     _ = rule.update(losses, [1.0, 1.0])
        >>> rule.settled, rule.stop, rule.best_epoch
        ((False, True), True, 4)
    """

    @property
    def stop(self) -> bool:
        """Whether one task is settled."""
        return any(self.votes)


@final
class AllTasks(TaskStopping):
    """Stops when every task is settled: one that still learns keeps the run going.

    Args:
        patience: Epochs without improvement before a task is settled.

    Example:
        >>> rule = AllTasks(patience=1)
        >>> for losses in ([0.9, 0.9], [0.8, 1.0], [0.9, 1.1]):
        ...     _ = rule.update(losses, [1.0, 1.0])
        >>> rule.stop
        True
    """

    @property
    def stop(self) -> bool:
        """Whether every task with validation labels is settled."""
        return bool(self.votes) and all(self.votes)


@final
class FreezeHead(TaskStopping):
    """A settled task leaves the training: its loss is dropped and its head no longer moves.

    The tasks that still learn keep the trunk for themselves; the run ends when all are settled.
    A frozen head reads a trunk that goes on moving, so its loss may rise: the kept epoch is still
    the best compromise over all tasks, and ``keep="per-task"`` keeps every task's own best.

    Args:
        patience: Epochs without improvement before a task is settled.
    """

    when_settled = "freeze"

    @property
    def stop(self) -> bool:
        """Whether every task with validation labels is settled."""
        return bool(self.votes) and all(self.votes)


@final
class Distil(TaskStopping):
    """A settled task switches to distillation from its own best epoch.

    Its labels would be overfitted from now on, and dropping it would let the trunk forget it; the
    outputs of its own best weights keep what it has learnt while the other tasks go on. The run
    ends when all tasks are settled.

    Args:
        patience: Epochs without improvement before a task is settled.

    Reference:
        Lu et al., Asynchronous Convergence in Multi-Task Learning via Knowledge Distillation from
        Converged Tasks, NAACL 2022 (industry track). https://aclanthology.org/2022.naacl-industry.18
    """

    when_settled = "distil"

    @property
    def stop(self) -> bool:
        """Whether every task with validation labels is settled."""
        return bool(self.votes) and all(self.votes)
