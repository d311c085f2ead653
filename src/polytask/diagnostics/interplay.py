"""How the tasks share the update, as a report shows it: one epoch's geometry, curves, findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, final

from .geometry import TaskGeometry
from .imbalance import Imbalance, find_imbalances, nothing_found
from .trunk_gradients import TrunkGradients

MAX_CURVES = 10
"""Tasks whose weights and norms are followed over the epochs."""
MAX_PAIRS = 20
"""Pairs that are named."""


@final
@dataclass(frozen=True)
class Pair:
    """Two tasks.

    Args:
        first: Name.
        second: Name.
        cosine: Mean cosine of their gradients.
        conflicts: Share of the updates in which their inner product was negative.
    """

    first: str
    second: str
    cosine: float
    conflicts: float | None


@final
@dataclass(frozen=True)
class ShareCurve:
    """One task over the epochs; None: not measured.

    Args:
        task: Name.
        weights: Its weight as a part of the sum of all weights' sizes.
        norms: Root mean square of its gradient's norm.
    """

    task: str
    weights: tuple[float | None, ...]
    norms: tuple[float | None, ...]


@final
@dataclass(frozen=True)
class Interplay:
    """How the tasks share the update.

    Args:
        findings: What is wrong, the most severe first.
        epoch: Epoch that `geometry` is about: the kept one, or the last before it that was
            measured; 0 if the balancing measures no gradients.
        geometry: Of the updates of that epoch, in the order of all tasks.
        kept: The gradients at the kept weights, measured once (`TrunkGradients`), with the weights
            of the kept epoch; of the tasks that were measured there.
        pairs: Pairs of tasks with the lowest cosines, the lowest first; of `geometry`, else of
            `kept`.
        opposed: Number of all pairs with a negative mean cosine.
        epochs: The epochs of the curves.
        curves: Weights and norms of at most `MAX_CURVES` tasks; none if the weights never differ
            and norms are unknown.
        summary: What may be said where there are no findings; else, and where no gradients were
            measured, empty.
    """

    findings: tuple[Imbalance, ...]
    epoch: int = 0
    geometry: TaskGeometry | None = None
    kept: TaskGeometry | None = None
    pairs: tuple[Pair, ...] = ()
    opposed: int = 0
    epochs: tuple[int, ...] = ()
    curves: tuple[ShareCurve, ...] = ()
    summary: str = ""


def describe_interplay(
    history: Mapping[str, Any],
    *,
    balance: str = "",
    weakened: bool = False,
    once: TrunkGradients | None = None,
) -> Interplay | None:
    """Puts together what is known of a run; None for a single task.

    Args:
        history: `History.to_json()`.
        balance: Name of the balancing in use.
        weakened: Whether its promise about conflicts is gone (`find_imbalances`).
        once: Gradients at the kept weights.

    Example:
        >>> pair = TaskGeometry(20, [20, 20], [1, 2], [[1, 0.5], [0.5, 1]], [[0, 0], [0, 0]])
        >>> record = {"epoch": 1, "weights": [1.0, 3.0], "geometry": pair.to_json()}
        >>> found = describe_interplay({"tasks": ["a", "b"], "epochs": [record]})
        >>> found.pairs, [curve.weights for curve in found.curves]
        ((Pair(first='a', second='b', cosine=0.5, conflicts=0),), [(0.25,), (0.75,)])
    """
    tasks: Sequence[str] = history.get("tasks", ())
    if len(tasks) < 2:
        return None
    records = list(history.get("epochs", ()))
    kept = history.get("best_epoch") or (records[-1]["epoch"] if records else 0)
    measured = [r for r in records if r.get("geometry") is not None and r["epoch"] <= kept]
    geometry = TaskGeometry.from_json(measured[-1]["geometry"]) if measured else None
    at_kept = _at_kept(once, tasks, records, kept)
    findings = find_imbalances(history, balance=balance, weakened=weakened)
    names, shown = tasks, geometry
    if geometry is None and once is not None:
        names, shown = once.tasks, at_kept
    pairs = [] if shown is None else _pairs(names, shown)
    return Interplay(
        findings,
        epoch=measured[-1]["epoch"] if measured else 0,
        geometry=geometry,
        kept=at_kept,
        pairs=tuple(pairs[:MAX_PAIRS]),
        opposed=sum(pair.cosine < 0 for pair in pairs),
        epochs=tuple(record["epoch"] for record in records),
        curves=_curves(tasks, records, _chosen(tasks, geometry, findings)),
        summary="" if findings else nothing_found(history, balance=balance, weakened=weakened),
    )


def _at_kept(
    once: TrunkGradients | None,
    tasks: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    kept: int,
) -> TaskGeometry | None:
    if once is None:
        return None
    weights = next((r["weights"] for r in records if r["epoch"] == kept), None)
    if weights is None or len(weights) != len(tasks):
        return once.geometry()
    return once.geometry([weights[tasks.index(name)] for name in once.tasks])


def _pairs(names: Sequence[str], geometry: TaskGeometry) -> list[Pair]:
    """All pairs with a cosine, the most opposed first."""
    if not geometry.cosines:
        return []
    found = [
        Pair(names[i], names[j], cosine, geometry.conflicts[i][j])
        for i, j in combinations(range(len(names)), 2)
        if (cosine := geometry.cosines[i][j]) is not None
    ]
    return sorted(found, key=lambda pair: pair.cosine)


def _chosen(
    tasks: Sequence[str], geometry: TaskGeometry | None, findings: Sequence[Imbalance]
) -> list[int]:
    """Tasks to follow, in the user's order: those of the findings, then the extremes."""
    if len(tasks) <= MAX_CURVES:
        return list(range(len(tasks)))
    named = [tasks.index(name) for finding in findings for name in finding.tasks]
    numbers: Sequence[float | None] = () if geometry is None else geometry.shares
    if geometry is not None and all(share is None for share in numbers):
        numbers = geometry.norms
    known = sorted((v, k) for k, v in enumerate(numbers) if v is not None)
    order = [k for _, k in known]
    # The smallest and the largest by turns.
    extremes = [k for ends in zip(order, reversed(order), strict=True) for k in ends]
    wanted = dict.fromkeys([*named, *extremes, *range(len(tasks))])
    return sorted(list(wanted)[:MAX_CURVES])


def _curves(
    tasks: Sequence[str], records: Sequence[Mapping[str, Any]], chosen: Sequence[int]
) -> tuple[ShareCurve, ...]:
    weights = [_parts(record["weights"]) for record in records]
    norms: list[Sequence[float | None]] = [
        [None] * len(tasks) if record.get("geometry") is None else record["geometry"]["norms"]
        for record in records
    ]
    told = {part for parts in weights for part in parts if part is not None}
    differ = bool(told) and max(told) - min(told) > 1e-6  # shares of equal weights, rounded apart
    if not differ and all(norm is None for row in norms for norm in row):
        return ()
    return tuple(
        ShareCurve(tasks[k], tuple(row[k] for row in weights), tuple(row[k] for row in norms))
        for k in chosen
    )


def _parts(weights: Sequence[float | None]) -> list[float | None]:
    total = sum(abs(weight) for weight in weights if weight is not None)
    return [None if w is None or not total else float(f"{w / total:.6g}") for w in weights]
