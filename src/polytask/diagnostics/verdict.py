"""One verdict per task about the weights that were kept, with the numbers behind it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from .evaluate import hard
from .judge import too_few
from .predictions import Outputs, constant_outputs
from .standard_error import RowLosses, mean_and_error, paired_gain, row_losses
from .trajectory import SMALL, Curve, describe_trajectory, read_curve, still_falling, unrest

WORDS = ("too few rows", "overfits", "underfits", "unstable", "ok")
"""All verdicts, in order of precedence."""
SMALL_GAP = 0.10
"""Of the validation loss: below this, training and validation loss count as alike."""
UNREST = 3.0
"""Standard errors of epoch-to-epoch noise that are called unstable."""


@final
@dataclass(frozen=True)
class VerdictNumbers:
    """The figures behind a verdict; None: not measured.

    Args:
        labels: Validation labels.
        kept_epoch: Epoch of the kept weights.
        best_epoch: Epoch of the task's own lowest validation loss.
        last_epoch: The last epoch of the run.
        kept: Validation loss of the kept weights.
        best: Lowest validation loss of the run.
        end: Validation loss at the last epoch.
        standard_error: Of the validation loss of the kept weights, over rows.
        train_kept: Training loss, dropout off, at the kept epoch.
        train_best: The same at the task's own best epoch.
        train_end: The same at the last epoch.
        gap: (validation − training loss) / |validation loss| of the kept weights.
        gap_error: Its standard error, over validation and training rows.
        over_linear: Loss of the linear model − loss of the kept weights on validation rows;
            positive: the network is better.
        over_linear_error: Its paired standard error.
        over_mean: The same against predicting the training average.
        over_mean_error: Its paired standard error.
        unrest: Epoch-to-epoch noise of the validation loss over the last ten epochs.
    """

    labels: int
    kept_epoch: int = 0
    best_epoch: int = 0
    last_epoch: int = 0
    kept: float | None = None
    best: float | None = None
    end: float | None = None
    standard_error: float | None = None
    train_kept: float | None = None
    train_best: float | None = None
    train_end: float | None = None
    gap: float | None = None
    gap_error: float | None = None
    over_linear: float | None = None
    over_linear_error: float | None = None
    over_mean: float | None = None
    over_mean_error: float | None = None
    unrest: float | None = None


@final
@dataclass(frozen=True)
class Verdict:
    """What can be said about the kept weights of one task.

    Args:
        task: Its name.
        word: One of `WORDS`. Of several that hold, the first in the order of precedence:
            ``too few rows`` (then nothing else is said), ``overfits``, ``underfits``,
            ``unstable``; ``ok``: none of them.
        sentence: The reason, with its numbers.
        also: Further words that hold.
        trajectory: What the run did, as against what the kept weights are, in words.
        numbers: The figures.
        action: One thing to try, in words; empty if nothing has to be done.
    """

    task: str
    word: str
    sentence: str
    also: tuple[str, ...]
    trajectory: str
    numbers: VerdictNumbers
    action: str = ""


@final
@dataclass(frozen=True)
class Evidence:
    """Losses per row of one task, on training and on validation rows.

    Args:
        valid: Of the kept weights on validation rows; None: no labels, or not finite.
        train: The same on training rows.
        linear: Of the linear model on validation rows.
        linear_train: The same on training rows.
        mean: Of predicting the training average on validation rows.
        mean_train: The same on training rows.
        too_few: Why the validation labels are too few for a verdict; empty: they are enough.
    """

    valid: RowLosses | None
    train: RowLosses | None = None
    linear: RowLosses | None = None
    linear_train: RowLosses | None = None
    mean: RowLosses | None = None
    mean_train: RowLosses | None = None
    too_few: str = ""


def verdicts(
    history: Mapping[str, Any],
    sets: Mapping[str, Outputs],
    *,
    baselines: Mapping[str, Mapping[str, Outputs]] | None = None,
    kept_epochs: Sequence[int] | None = None,
) -> tuple[Verdict, ...]:
    """The verdict of every task, in the user's order.

    Args:
        history: `History.to_json()`.
        sets: Outputs of the kept weights on ``"train"`` and ``"valid"`` rows. Other sets are not
            looked at: a verdict compares with epochs, which only validation rows have.
        baselines: ``"linear"`` → set → outputs for the same rows; others are not looked at.
        kept_epochs: Per task the epoch whose weights predict it, where every task has its own;
            None: the one epoch kept for all.

    Returns:
        Nothing without validation rows.
    """
    if "valid" not in sets:
        return ()
    valid, train = sets["valid"], sets.get("train")
    linear = (baselines or {}).get("linear", {})
    plain = [hard(task) for task in valid.tasks]
    constant = constant_outputs(valid, plain)
    constant_train = None if train is None else constant_outputs(train, plain)

    def rows(outputs: Outputs | None, index: int) -> RowLosses | None:
        return None if outputs is None else row_losses(outputs, index)

    return tuple(
        judge_task(
            task.name,
            read_curve(history, index, kept_epochs[index] if kept_epochs else None),
            Evidence(
                valid=rows(valid, index),
                train=rows(train, index),
                linear=rows(linear.get("valid"), index),
                linear_train=rows(linear.get("train"), index),
                mean=rows(constant, index),
                mean_train=rows(constant_train, index),
                too_few=too_few(task, valid, index),
            ),
        )
        for index, task in enumerate(valid.tasks)
    )


def judge_task(name: str, curve: Curve | None, evidence: Evidence) -> Verdict:
    r"""The verdict on the kept weights of one task.

    In order of precedence; SE is the standard error over validation rows of the kept weights'
    loss, and of a paired difference where two predictions of the same rows are compared:

    1. ``too few rows``: fewer labels than `too_few` asks for; then no other verdict is given.
    2. ``overfits``: (a) the kept weights lose more than max(1 SE, 2 %) against the task's own
       best epoch of the run, while their training loss is lower than there; or (b) they are worse
       than predicting the training average, by more than max(1 SE of the difference, 2 %), while
       on the training rows they are better than it, by more than max(2 SE, 2 %).
    3. ``underfits``: the gap is not above 10 % by more than one SE of the gap (easier validation
       rows alone shift it by more than 10 % in small tables) **and** the gain over the linear
       model (or over the training average, where that is better still) is at most
       max(1 SE of the difference, 2 %) **and** no epoch of the run fitted the training rows
       clearly better (2 %) than the kept weights and the linear model do: a run that did shows
       that fitting more brings nothing here. The last condition is waived where the validation
       loss still fell when the epochs ran out. Without a linear model only that counts: a small
       gap and a loss that still fell.
    4. ``unstable``: the epoch-to-epoch noise of the validation loss over the last ten epochs,
       around any smooth trend, is above 3 SE; or an epoch among them was not finite; or the kept
       weights lost more than max(3 SE, 2 %) against an earlier epoch without fitting the training
       rows better than there.
    5. ``ok``: none of them.

    The gap alone never decides. Between epochs only means are known, so rule 2 (a) takes the SE of
    the loss itself, which is larger than that of the difference: it says "overfits" too rarely
    rather than too often.

    Args:
        name: The task.
        curve: `read_curve` of the history; None: it has no measured epoch.
        evidence: Losses per row.

    Example:
        >>> import numpy as np
        >>> epochs = [{"train": [1 / e], "valid": [1 + 0.05 * e]} for e in range(1, 21)]
        >>> curve = read_curve({"epochs": epochs, "best_epoch": 20, "stopped": "epochs"}, 0)
        >>> rows = RowLosses(np.linspace(1.5, 2.5, 200), np.ones(200), np.arange(200))
        >>> verdict = judge_task("y", curve, Evidence(rows))
        >>> verdict.word, verdict.numbers.best_epoch
        ('overfits', 1)
    """
    numbers = _numbers(curve, evidence)
    trajectory = ""
    if curve is not None:
        error = numbers.standard_error
        trajectory = describe_trajectory(curve, math.inf if error is None else error)
    if evidence.too_few or numbers.standard_error is None:
        why = evidence.too_few or "no finite validation loss"
        return Verdict(
            name,
            "too few rows",
            f"Nothing is said about {name}: {why}.",
            (),
            trajectory,
            numbers,
            "Collect more labels, or give a larger share of the rows to validation.",
        )
    lowest = None if curve is None else curve.lowest_train
    falling = curve is not None and curve.stopped == "epochs" and still_falling(curve.valid)
    gaps = 0 if curve is None else curve.gaps
    found = {
        "overfits": _overfits(numbers, evidence),
        "underfits": _underfits(numbers, evidence, lowest, falling=falling),
        "unstable": _unstable(numbers, gaps),
    }
    held = [word for word, sentence in found.items() if sentence]
    word = held[0] if held else "ok"
    sentence = found[word] if held else _ok(numbers)
    return Verdict(
        name,
        word,
        sentence,
        tuple(held[1:]),
        trajectory,
        numbers,
        _action(word, numbers, falling=falling),
    )


def _numbers(curve: Curve | None, evidence: Evidence) -> VerdictNumbers:
    labels = 0 if evidence.valid is None else int((evidence.valid.weights > 0).sum())
    loss = error = seen = seen_error = None
    if evidence.valid is not None:
        loss, error = mean_and_error(evidence.valid.losses, evidence.valid.weights)
    if evidence.train is not None:
        seen, seen_error = mean_and_error(evidence.train.losses, evidence.train.weights)
    at_kept = None if curve is None else curve.valid_at(curve.kept)
    seen_at_kept = None if curve is None else curve.train_at(curve.kept)
    linear = paired_gain(evidence.valid, evidence.linear) or (None, None)
    mean = paired_gain(evidence.valid, evidence.mean) or (None, None)
    return VerdictNumbers(
        labels=labels,
        kept_epoch=0 if curve is None else curve.kept,
        best_epoch=0 if curve is None else curve.best,
        last_epoch=0 if curve is None else curve.last,
        kept=loss if at_kept is None else at_kept,
        best=None if curve is None else min(curve.valid),
        end=None if curve is None else curve.valid[-1],
        standard_error=error if error is not None and math.isfinite(error) else None,
        train_kept=seen if seen_at_kept is None else seen_at_kept,
        train_best=None if curve is None else curve.train_at(curve.best),
        train_end=None if curve is None else curve.train[-1],
        gap=_gap(seen, loss) if seen is not None else _gap(seen_at_kept, at_kept),
        gap_error=_share(math.hypot(error, seen_error or 0.0), loss) if error is not None else None,
        over_linear=linear[0],
        over_linear_error=linear[1],
        over_mean=mean[0],
        over_mean_error=mean[1],
        unrest=None if curve is None else unrest(curve.valid),
    )


def _gap(train: float | None, valid: float | None) -> float | None:
    return None if train is None or not valid else (valid - train) / abs(valid)


def _share(part: float, whole: float | None) -> float | None:
    return part / abs(whole) if whole and math.isfinite(part) else None


def _overfits(n: VerdictNumbers, evidence: Evidence) -> str:
    assert n.standard_error is not None
    if n.kept is not None and n.best is not None:
        lost, allowed = n.kept - n.best, max(n.standard_error, SMALL * abs(n.best))
        fell = n.train_kept is not None and n.train_best is not None
        if lost > allowed and fell and (n.train_kept or 0.0) < (n.train_best or 0.0):
            return (
                f"The kept weights (epoch {n.kept_epoch}) have a validation loss of {n.kept:.4g} "
                f"± {n.standard_error:.2g}; at epoch {n.best_epoch} it was {n.best:.4g}, and since "
                f"then only the training loss fell ({n.train_best:.4g} to {n.train_kept:.4g})."
            )
    seen = paired_gain(evidence.train, evidence.mean_train)
    if n.over_mean is None or n.over_mean_error is None or seen is None:
        return ""
    assert evidence.mean is not None
    assert evidence.mean_train is not None
    unit, _ = mean_and_error(evidence.mean.losses, evidence.mean.weights)
    seen_unit, _ = mean_and_error(evidence.mean_train.losses, evidence.mean_train.weights)
    worse = -n.over_mean > max(n.over_mean_error, SMALL * abs(unit))
    if worse and seen[0] > max(2 * seen[1], SMALL * abs(seen_unit)):
        return (
            f"On validation rows the kept weights are worse than predicting the training average, "
            f"by {-n.over_mean:.3g} ± {n.over_mean_error:.2g}; on training rows they are better "
            f"than it, by {seen[0]:.3g}."
        )
    return ""


def _underfits(
    n: VerdictNumbers, evidence: Evidence, lowest: float | None, *, falling: bool
) -> str:
    if n.gap is None or n.kept is None or n.gap - (n.gap_error or 0.0) >= SMALL_GAP:
        return ""
    start = f"Training and validation loss are alike (gap {100 * n.gap:.0f} %), and "
    if n.over_linear is None or n.over_linear_error is None:
        return f"{start}the loss still fell when the epochs ran out." if falling else ""
    assert evidence.linear is not None
    name, plain, plain_train = "a linear model", evidence.linear, evidence.linear_train
    measured, spread = n.over_linear, n.over_linear_error
    if n.over_mean is not None and n.over_mean < n.over_linear and evidence.mean is not None:
        name, plain, plain_train = "the training average", evidence.mean, evidence.mean_train
        measured, spread = n.over_mean, n.over_mean_error or 0.0
    unit, _ = mean_and_error(plain.losses, plain.weights)
    if measured > max(spread, SMALL * abs(unit)):
        return ""
    gain = f"{measured:+.3g} ± {spread:.2g}"
    if falling:
        return (
            f"{start}the network is no better than {name} (gain {gain}), while its loss "
            "still fell when the epochs ran out."
        )
    fits = [] if n.train_kept is None else [n.train_kept]
    if plain_train is not None:
        fits.append(mean_and_error(*plain_train[:2])[0])
    if lowest is not None and fits and lowest < min(fits) - SMALL * abs(min(fits)):
        return ""
    return (
        f"{start}the network is no better than {name} (gain {gain}), and no epoch fitted the "
        "training rows better: it is too weak, or there is nothing more to find."
    )


def _unstable(n: VerdictNumbers, gaps: int) -> str:
    assert n.standard_error is not None
    if gaps:
        return f"The validation loss was not finite in {gaps} of the last epochs."
    if n.kept is not None and n.best is not None and n.kept_epoch > n.best_epoch:
        lost = n.kept - n.best
        fitted = n.train_kept is None or n.train_best is None or n.train_kept < n.train_best
        if not fitted and lost > max(UNREST * n.standard_error, SMALL * abs(n.best)):
            return (
                f"Training and validation loss rose after epoch {n.best_epoch}: the validation "
                f"loss from {n.best:.4g} to {n.kept:.4g} ± {n.standard_error:.2g}."
            )
    if n.unrest is None or n.unrest <= UNREST * n.standard_error:
        return ""
    return (
        f"From epoch to epoch the validation loss jumps by {n.unrest:.2g}, more than {UNREST:.0f} "
        f"times its standard error ({n.standard_error:.2g}): which epoch is kept is partly luck."
    )


def _ok(n: VerdictNumbers) -> str:
    words = f"Validation loss {n.kept:.4g} ± {n.standard_error:.2g}" if n.kept is not None else ""
    for gain, error, against in (
        (n.over_linear, n.over_linear_error, "a linear model"),
        (n.over_mean, n.over_mean_error, "predicting the training average"),
    ):
        if gain is not None and error is not None:
            return f"{words}; gain over {against}: {gain:+.3g} ± {error:.2g}."
    return f"{words}."


def _action(word: str, n: VerdictNumbers, *, falling: bool) -> str:
    lost = n.over_linear is not None and n.over_linear < -(n.over_linear_error or 0.0)
    if word == "ok" and lost and not falling:
        return "Use the linear model, which is better here."
    if word == "underfits":
        return "Train for more epochs." if falling else "Try a wider or deeper network."
    return {
        "overfits": "Defend more: early stopping, dropout, weight decay, or fewer epochs.",
        "unstable": "Lower the learning rate, or average the weights.",
        "ok": "Train for more epochs." if falling else "",
    }[word]
