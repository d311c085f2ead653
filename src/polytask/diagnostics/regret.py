"""Which task would have stopped when: relative regret per task and epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_EPOCHS = 120
"""Columns of the matrix; more epochs are thinned evenly."""


@dataclass(frozen=True)
class Regret:
    """A task × epoch matrix.

    Args:
        epochs: The epochs of its columns, thinned where there are many.
        tasks: Names, in the user's order.
        values: Per task, (L_t(e) − L_t*) / |B_t|; None where not measured.
        kept: Epoch whose weights were kept.
        own: Per task the epoch of its own lowest loss.
        at_kept: Per task the regret at the kept epoch.
        mean: Mean over the tasks, per epoch.
    """

    epochs: tuple[int, ...]
    tasks: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    kept: int
    own: tuple[int, ...]
    at_kept: tuple[float | None, ...]
    mean: tuple[float | None, ...]


def regret_matrix(history: Mapping[str, Any]) -> Regret | None:
    r"""How much worse every epoch was for every task than the task's own best epoch.

    :math:`r_t(e) = (L_t(e) - L_t^*) / |B_t|` with the validation loss L, its lowest value
    :math:`L_t^*` over the epochs, and the loss B of predicting the training distribution. B is the
    denominator because :math:`L_t^*` is near zero for a solved task and negative for some
    likelihoods, while B says what the task is worth: 0.1 is a tenth of it.

    Args:
        history: `History.to_json()`.

    Returns:
        None without validation losses.

    Example:
        >>> epochs = [{"epoch": e, "valid": [v]} for e, v in ((1, 0.6), (2, 0.5), (3, 0.7))]
        >>> history = {"tasks": ["y"], "epochs": epochs, "baseline": [2.0], "best_epoch": 2}
        >>> regret_matrix(history).values
        ((0.05, 0.0, 0.1),)
    """
    records = {
        record.get("epoch", position): record.get("valid") or []
        for position, record in enumerate(history.get("epochs", ()), 1)
    }
    names = tuple(history.get("tasks", ()))
    baseline = history.get("baseline") or []
    if not records or len(baseline) != len(names):
        return None
    kept = int(history.get("best_epoch", 0))
    shown = _thinned(sorted(records), kept)
    values: list[tuple[float | None, ...]] = []
    own: list[int] = []
    at_kept: list[float | None] = []
    for index, unit in enumerate(baseline):
        losses = {
            epoch: valid[index]
            for epoch, valid in records.items()
            if len(valid) == len(names) and valid[index] is not None
        }
        if not losses or not unit:
            values.append((None,) * len(shown))
            own.append(0)
            at_kept.append(None)
            continue
        best = min(losses.values())
        own.append(max(epoch for epoch, loss in losses.items() if loss == best))
        regrets = {epoch: (loss - best) / abs(unit) for epoch, loss in losses.items()}
        values.append(tuple(_short(regrets.get(epoch)) for epoch in shown))
        at_kept.append(_short(regrets.get(kept)))
    if not any(own):
        return None
    mean = tuple(_mean([row[column] for row in values]) for column in range(len(shown)))
    return Regret(tuple(shown), names, tuple(values), kept, tuple(own), tuple(at_kept), mean)


def _thinned(epochs: Sequence[int], kept: int) -> list[int]:
    if len(epochs) <= MAX_EPOCHS:
        return list(epochs)
    last = len(epochs) - 1
    spread = {epochs[round(i * last / (MAX_EPOCHS - 1))] for i in range(MAX_EPOCHS)}
    return sorted(spread | ({kept} & set(epochs)))


def _short(value: float | None) -> float | None:
    """Four significant digits: the matrix of many tasks stays small on disk."""
    return None if value is None else float(f"{value:.4g}")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _short(sum(known) / len(known)) if known else None
