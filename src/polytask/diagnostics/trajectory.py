"""What a run did, apart from what its kept weights are: the curves of one task with errors."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

WINDOW = 10
"""Epochs at the end of a run in which trend and unrest are measured."""
SMALL = 0.02
"""A difference below this share of the loss is never called a difference."""


class Curve(NamedTuple):
    """The measured epochs of one task.

    Args:
        epochs: Epochs with a finite validation loss, rising.
        valid: Validation losses at these epochs.
        train: Training losses in eval mode at these epochs; None: not measured.
        kept: The epoch whose weights were kept.
        stopped: Why the run ended, `History.stopped`.
        gaps: Epochs among the last ten whose loss was not finite.
    """

    epochs: tuple[int, ...]
    valid: tuple[float, ...]
    train: tuple[float | None, ...]
    kept: int
    stopped: str
    gaps: int

    @property
    def best(self) -> int:
        """The epoch of the lowest validation loss, ties take the last."""
        lowest = min(self.valid)
        return max(e for e, loss in zip(self.epochs, self.valid, strict=True) if loss == lowest)

    @property
    def last(self) -> int:
        """The last measured epoch."""
        return self.epochs[-1]

    def valid_at(self, epoch: int) -> float | None:
        """The validation loss at an epoch."""
        return self.valid[self.epochs.index(epoch)] if epoch in self.epochs else None

    def train_at(self, epoch: int) -> float | None:
        """The training loss at an epoch."""
        return self.train[self.epochs.index(epoch)] if epoch in self.epochs else None

    @property
    def lowest_train(self) -> float | None:
        """The lowest training loss of the run."""
        return min((loss for loss in self.train if loss is not None), default=None)


def read_curve(history: Mapping[str, Any], index: int, kept: int | None = None) -> Curve | None:
    """The curve of the task at `index`; None if its validation loss was never measured.

    Args:
        history: `History.to_json()`.
        index: Position of the task in the user's order.
        kept: The epoch whose weights predict this task; None: the one epoch kept for all.
    """
    epochs, valid, train, missing = [], [], [], []
    for position, record in enumerate(history.get("epochs", ()), 1):
        epoch = int(record.get("epoch", position))
        losses, seen = record.get("valid") or [], record.get("train") or []
        loss = losses[index] if index < len(losses) else None
        if loss is None or not math.isfinite(loss):
            missing.append(epoch)
            continue
        epochs.append(epoch)
        valid.append(float(loss))
        train.append(seen[index] if index < len(seen) else None)
    if not epochs:
        return None
    end = max([*epochs, *missing])
    if kept is None:
        kept = int(history.get("best_epoch", 0))
    return Curve(
        tuple(epochs),
        tuple(valid),
        tuple(train),
        kept,
        str(history.get("stopped", "")),
        sum(epoch > end - WINDOW for epoch in missing),
    )


def unrest(losses: Sequence[float]) -> float:
    r"""Standard deviation of the last ten losses around any smooth trend.

    .. math:: \hat\sigma^2 = \frac{1}{6 m} \sum_e (L_{e-1} - 2 L_e + L_{e+1})^2

    with the validation loss L and the number m of inner epochs. For independent noise around a
    straight line this is an unbiased estimate of its variance; the bend of a loss that still
    falls fast, which the deviation from a fitted line would count as noise, almost drops out.

    Args:
        losses: One per epoch; fewer than 5 tell nothing and give 0.

    Example:
        >>> unrest([0.9, 0.7, 0.6, 0.55, 0.52, 0.5]) < 0.03 < unrest([0.5, 0.9, 0.5, 0.9, 0.5])
        True
    """
    last = np.asarray(losses[-WINDOW:], dtype=np.float64)
    if len(last) < 5:
        return 0.0
    return float(np.sqrt(np.mean(np.diff(last, 2) ** 2) / 6))


def still_falling(losses: Sequence[float]) -> bool:
    """Whether the loss falls at the end: by more than 1 % in the last epochs, and beyond noise.

    A straight line is fitted to the last ten losses (a quarter of the run, if that is less, but at
    least 4); its slope must be negative by more than 2 standard errors.

    Args:
        losses: Validation loss per epoch; fewer than 3 tell nothing.

    Example:
        >>> still_falling([1.0, 0.9, 0.8, 0.7]), still_falling([1.0, 0.5, 0.5, 0.5, 0.5, 0.5])
        (True, False)
    """
    window = min(WINDOW, max(4, len(losses) // 4))
    last = np.asarray(losses[-window:], dtype=np.float64)
    if len(last) < 3:
        return False
    time = np.arange(len(last)) - (len(last) - 1) / 2
    slope = float(time @ last) / float(time @ time)
    rest = last - last.mean() - slope * time
    error = math.sqrt(float(rest @ rest) / (len(last) - 2) / float(time @ time))
    fall = -slope * (len(last) - 1)
    return fall > 0.01 * abs(float(last.mean())) and slope < -2 * error


def describe_trajectory(curve: Curve, error: float) -> str:
    """What the run did, in words: about the epochs, not about the weights that were kept.

    Args:
        curve: The curves of the task.
        error: Standard error of the validation loss. Between epochs only means are known, so this
            stands for the error of a difference; the true one is smaller, because the same rows
            are measured at every epoch.
    """
    kept, end = curve.valid_at(curve.kept), curve.valid[-1]
    if kept is None:
        return "the kept epoch was not measured"
    if len(curve.epochs) == 1:
        return "one epoch says nothing about a trend"
    unit = abs(kept) or 1.0
    margin = f" ± {_percent(error / unit)}" if math.isfinite(error) else ""
    later = (end - kept) / unit
    clear = max(error / unit, SMALL)
    if curve.stopped == "epochs" and still_falling(curve.valid):
        return f"was still improving at the last epoch ({curve.last})"
    if curve.kept == curve.last:
        own = curve.valid_at(curve.best)
        if own is not None and (kept - own) / (abs(own) or 1.0) > clear:
            lost = _percent((kept - own) / (abs(own) or 1.0))
            return f"went on after its best epoch {curve.best} and lost {lost}{margin}"
        return f"ended at the kept epoch {curve.kept}"
    if later > clear:
        return f"stopped in time at epoch {curve.kept}: later epochs lost {_percent(later)}{margin}"
    if -later > clear:
        return f"later epochs than the kept {curve.kept} gained {_percent(-later)}{margin} here"
    return f"flat after epoch {curve.kept}: later epochs changed the loss by {later:+.1%}{margin}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if abs(share) < 1 else f"{100 * share:.0f} %"
