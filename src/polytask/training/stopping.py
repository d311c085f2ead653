"""When to stop, and which epoch to keep: rules on the validation losses of all tasks.

Every rule gives one score per epoch, lower is better. The best epoch has the lowest score, ties
take the last; the run stops when the best epoch is `patience` epochs old. A task without labels
among the validation rows has no vote.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, final

from polytask._checks import at_least

Losses = Sequence[float | None]


class Stopping(ABC):
    """Base class of stopping rules; state is the scores so far."""

    patience: int | None

    when_settled: ClassVar[Literal["nothing", "freeze", "distil"]] = "nothing"
    """What happens to a task once it is settled."""

    def __init__(self) -> None:
        self.scores: list[float] = []

    @property
    def settled(self) -> tuple[bool, ...]:
        """Per task, whether it has stopped improving for good; empty for rules without that."""
        return ()

    @abstractmethod
    def score(self, losses: Losses, baseline: Losses) -> float:
        """One number for an epoch, lower is better.

        Args:
            losses: Validation loss per task; None for a task without validation labels.
            baseline: Validation loss per task of predicting the training distribution.
        """

    def update(self, losses: Losses, baseline: Losses) -> bool:
        """Records an epoch; True if it is the best so far (ties count as better)."""
        self.scores.append(self.score(losses, baseline))
        return self.best_epoch == len(self.scores)

    @property
    def best_epoch(self) -> int:
        """Epoch of the lowest score, 1 for the first, ties take the last; 0 before the first."""
        best = min(self.scores, default=0.0)
        return max((e for e, s in enumerate(self.scores, 1) if s == best), default=0)

    @property
    def stalled(self) -> int:
        """Epochs since the best one."""
        return len(self.scores) - self.best_epoch

    @property
    def stop(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.stalled >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"scores": list(self.scores)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.scores = list(state_dict["scores"])


def _voters(losses: Losses, baseline: Losses) -> list[tuple[float, float]]:
    pairs = zip(losses, baseline, strict=True)
    return [(loss, base or 1.0) for loss, base in pairs if loss is not None]


def mean_over_baseline(losses: Losses, baseline: Losses) -> float:
    """Mean of the voters' losses in units of the baseline's: the regret up to a constant."""
    votes = _voters(losses, baseline)
    return sum(loss / base for loss, base in votes) / max(len(votes), 1)


@final
class Regret(Stopping):
    """Stops when no compromise between the tasks gets better; the default.

    The regret of epoch e is what the tasks lose, together, against their own best epochs,
    measured in units of the loss of predicting the training distribution:

        regret(e) = mean over tasks t of (L_t(e) − L_t*) / B_t ,   L_t* = min over epochs of L_t

    with L_t the validation loss of task t and B_t the validation loss of its baseline. Since B_t
    is fixed, a later, better L_t* lowers every epoch's regret by the same amount, so the order of
    the epochs never changes afterwards, and an epoch in which every task improves is always the
    new best: the score kept here is the regret up to that common constant.

    Args:
        patience: Epochs without improvement before the run stops.

    Example:
        >>> rule = Regret(patience=2)
        >>> [rule.update([loss, 10 * loss], [1.0, 10.0]) for loss in (0.9, 0.8, 0.85, 0.95)]
        [True, True, False, False]
        >>> rule.best_epoch, rule.stop
        (2, True)

    Note:
        Dividing by L_t* itself would let one solved task (L_t* near 0) decide alone, and a
        negative L_t* would turn the sign; the loss of the baseline has neither fault.
    """

    def __init__(self, patience: int = 16) -> None:
        super().__init__()
        at_least("patience", patience, 1)
        self.patience = patience

    def score(self, losses: Losses, baseline: Losses) -> float:
        """Mean loss in units of the baseline's."""
        return mean_over_baseline(losses, baseline)


@final
class Mean(Stopping):
    """Stops when the plain mean of the validation losses no longer falls.

    The task with the largest loss decides almost alone; `Regret` has no such favourite.

    Args:
        patience: Epochs without improvement before the run stops.
    """

    def __init__(self, patience: int = 16) -> None:
        super().__init__()
        at_least("patience", patience, 1)
        self.patience = patience

    def score(self, losses: Losses, baseline: Losses) -> float:
        """Mean over the tasks that have validation labels."""
        votes = _voters(losses, baseline)
        return sum(loss for loss, _ in votes) / max(len(votes), 1)


@final
class NoStopping(Stopping):
    """Runs all epochs and keeps the weights of the last one."""

    patience = None

    def score(self, losses: Losses, baseline: Losses) -> float:
        """Constant: every epoch ties with the best, and ties take the last."""
        return 0.0
