"""What is wrong with how the tasks share the update: rules on the geometry of their gradients."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import NormalDist, fmean, median, stdev
from typing import Any, final

from polytask._linalg.solution import NOT_CONVERGED

from .geometry import WINDOW, TaskGeometry
from .headline import listed

SHARE = 0.9
"""Part of the update, or of the weights, above which one task decides alone."""
RATIO = 10.0
"""A gradient dominates only if it is so many times longer than the median of the others."""
NEGLIGIBLE = 0.01
"""A task vanishes below this part of an equal share."""
OVERRULED = -0.1
"""A task is overruled below this part of an equal share: the update climbs its loss."""
SOLVED = 0.25
"""A training loss below this part of the training average's: a small gradient is then success."""
COSINE = -0.1
"""Mean cosine below which two tasks conflict."""
CHANCE = 0.01
"""Probability that any of the pairs is called conflicting although signs are coin tosses, or any of
the tasks overruled although its parts scatter around 0."""
FAILED = 0.01
"""Share of updates whose solve may end early without a word."""
SHOWN = 3
"""Names, or pairs, in a sentence."""
MIN_FAILED = 3
"""Nor are fewer of them than this mentioned."""
MIN_UPDATES = 10
"""Fewer measured updates in the window convict nobody."""

UNWEIGHTED = frozenset({"", "auto", "equal", "fixed", "scheduled", "pooled"})
"""Balancings whose weights are the user's own, or none."""
NEVER_CONFLICTING = frozenset({"upgrad", "dualproj", "mgda", "nash-mtl", "fairgrad"})
"""Balancings whose update never goes against a task: conflicts are what they are there for."""
SUGGESTED: dict[str, tuple[str, ...]] = {
    "domination": ("nash-mtl", "imtl-g", "gradnorm"),
    "vanishing": ("imtl-g", "nash-mtl", "gradnorm"),
    "overruled": ("upgrad", "nash-mtl"),
    "weight": ("imtl-g", "nash-mtl", "gradnorm"),
    "conflict": ("upgrad",),
    "solver": ("upgrad", "aligned-mtl"),
}
"""Kind → names for ``--balance``, the first that is not in use is suggested."""


@final
@dataclass(frozen=True)
class Imbalance:
    """One thing that is wrong with how the tasks share the update.

    Args:
        kind: ``"domination"``, ``"vanishing"``, ``"overruled"``, ``"weight"``, ``"conflict"`` or
            ``"solver"``.
        tasks: The tasks it is about; of a conflict, those of the worst pair first.
        sentence: What was found, with names and numbers.
        action: What to do, one sentence.
        command: Arguments to append to ``polytask fit``.
    """

    kind: str
    tasks: tuple[str, ...]
    sentence: str
    action: str
    command: str


def find_imbalances(
    history: Mapping[str, Any], *, balance: str = "", weakened: bool = False
) -> tuple[Imbalance, ...]:
    r"""What the gradients tell of the last epochs before the kept one, the most severe first.

    All rules look at the `WINDOW` epochs that end with the kept one: later ones did not make the
    model, earlier ones are past. The *part* of a task in an update is its share of the squared
    length (`TaskGeometry.shares`); where a method has no such shares, weight × norm, or the norm
    alone, as parts of their sum. A task is *solved* if its training loss is below `SOLVED` times
    the loss of predicting the training average: small gradients are then what one wants.

    ============ ===============================================================================
    kind         rule
    ============ ===============================================================================
    domination   In every epoch a part above `SHARE`, and a norm of at least `RATIO` times the
                 median of the other tasks' norms, while another task is not solved.
    weight       In every epoch a part and a weight above `SHARE`, the weights being the
                 method's own, while another task is not solved; no domination.
    overruled    In every epoch a part below `OVERRULED` times an equal share at a weight that is
                 not negative, not solved, and by more than chance: the mean of the epochs lies
                 below 0 by Student's test at `CHANCE` / number of tasks.
    vanishing    In every epoch a part within ± `NEGLIGIBLE` times an equal share, not solved. Also
                 without gradients, by weight × loss, for methods that weigh.
    conflict     Mean cosine below `COSINE` and negative inner products in more than half of the
                 updates, by more than coins would do: :math:`p > 1/2 + z / (2 \sqrt{n})` in n
                 updates, z the normal quantile of 1 − `CHANCE` / number of pairs. Not said of
                 methods whose update never goes against a task.
    solver       More than `FAILED` of all measured updates are flagged ``"not-converged"``.
    ============ ===============================================================================

    Args:
        history: `History.to_json()`.
        balance: Name of the balancing in use; empty: unknown, counts as weights of the user.
        weakened: Its weights are reused, smoothed or found on changed gradients, which takes its
            promise about conflicts away.

    Example:
        >>> pair = TaskGeometry(20, [20, 20], [9.0, 0.1], [[1, -0.5], [-0.5, 1]], [[0, 1], [1, 0]])
        >>> record = {"epoch": 1, "weights": [0.5, 0.5], "geometry": pair.to_json()}
        >>> found = find_imbalances({"tasks": ["a", "b"], "best_epoch": 1, "epochs": [record]})
        >>> [(one.kind, one.tasks, one.command) for one in found]
        [('domination', ('a',), '--balance nash-mtl'), ('conflict', ('a', 'b'), '--balance upgrad')]

    Note:
        Near the optimum of a weighted sum the gradients cancel, so that conflicts are then normal:
        they say that the tasks compete for the same weights, not that the update was wrong.
    """
    window = _Window(history, balance, weakened)
    if len(window.tasks) < 2 or not window.records:
        return ()
    found = [*_domination(window), *_neglected(window), *_conflicts(window)]
    return (*found, *_failed_solves(window, history))


def nothing_found(history: Mapping[str, Any], *, balance: str = "", weakened: bool = False) -> str:
    """What may be said where there are no findings: no more than was looked at.

    Args:
        history: As above.
        balance: As above.
        weakened: As above.
    """
    window = _Window(history, balance, weakened)
    if not window.geometries:
        return ""
    if window.updates < MIN_UPDATES:
        return f"Only {window.updates} updates were measured {window.words}: too few to judge."
    said = f"No task dominates the update {window.words}, and none is forgotten or overruled."
    if all(g.norms_only for g in window.geometries):
        return f"{said} Only norms were measured, so that nothing is known of conflicts."
    if window.never_conflicting:
        return f"{said} Conflicts between gradients are what {balance} resolves."
    return f"{said} No two tasks pull the shared weights apart by more than chance."


@final
class _Window:
    """The epochs that are looked at, task by task."""

    def __init__(self, history: Mapping[str, Any], balance: str, weakened: bool) -> None:
        self.tasks: list[str] = list(history["tasks"])
        self.balance = balance
        self.never_conflicting = balance in NEVER_CONFLICTING and not weakened
        self.baseline: Sequence[float | None] = history.get("baseline") or [None] * len(self.tasks)
        epochs = list(history.get("epochs", ()))
        kept = history.get("best_epoch") or (epochs[-1]["epoch"] if epochs else 0)
        self.records = [r for r in epochs if kept - WINDOW < r["epoch"] <= kept]
        known = [r.get("geometry") for r in self.records]
        self.geometries = [TaskGeometry.from_json(g) for g in known if g is not None]
        if self.geometries:
            self.records = [r for r in self.records if r.get("geometry") is not None]
        self.updates = sum(g.updates for g in self.geometries)
        first, last = (self.records[0]["epoch"], kept) if self.records else (0, 0)
        self.words = f"in epoch {last}" if first == last else f"in epochs {first} to {last}"

    @cached_property
    def weights(self) -> list[list[float]]:
        """Per epoch, weights as parts of their sum; zeros where they are unknown."""
        return [_parts([w or 0.0 for w in record["weights"]]) for record in self.records]

    @cached_property
    def parts(self) -> list[list[float]]:
        """Per epoch, the part of every task in the update."""
        if not self.geometries:
            return [
                _parts([(w or 0.0) * (x or 0.0) for w, x in zip(r["weights"], r["running"])])  # noqa: B905
                for r in self.records
            ]
        return [
            [s or 0.0 for s in geometry.shares]
            if any(s is not None for s in geometry.shares)
            else _parts(
                [
                    (norm or 0.0) * (weight if any(weights) else float(present))
                    for norm, weight, present in zip(
                        geometry.norms, weights, geometry.present, strict=True
                    )
                ]
            )
            for geometry, weights in zip(self.geometries, self.weights, strict=True)
        ]

    def solved(self, task: int) -> bool:
        """Whether the training loss has fallen far below that of the training average."""
        baseline, record = self.baseline[task], self.records[-1]
        losses = [record.get(key) for key in ("train", "running")]
        loss = next((x[task] for x in losses if x and x[task] is not None), None)
        return loss is not None and baseline is not None and loss < SOLVED * baseline

    def learning(self, task: int) -> bool:
        """Whether it had labels in every epoch, so that something could be expected."""
        if not self.geometries:
            return all(record["running"][task] is not None for record in self.records)
        return all(geometry.present[task] for geometry in self.geometries)

    def others_unsolved(self, task: int) -> bool:
        """Whether somebody else still has something to learn."""
        return any(
            other != task and self.learning(other) and not self.solved(other)
            for other in range(len(self.tasks))
        )

    def equal(self, epoch: int, task: int) -> float:
        """The part of a task if all labels counted the same."""
        if not self.geometries:
            return 1.0 / len(self.tasks)
        present = self.geometries[epoch].present
        return present[task] / max(sum(present), 1)

    def always(self, task: int, rule: Callable[[int], bool]) -> bool:
        """Whether a rule holds of a task in every epoch."""
        return self.learning(task) and all(rule(epoch) for epoch in range(len(self.records)))


def _domination(window: _Window) -> list[Imbalance]:
    measured = window.updates >= MIN_UPDATES
    found = []
    for k, name in enumerate(window.tasks):
        if not window.others_unsolved(k):
            continue
        if not window.always(k, lambda epoch, k=k: window.parts[epoch][k] > SHARE):  # type: ignore[misc]
            continue
        part = min(parts[k] for parts in window.parts)
        ratios = [_ratio(geometry, k) for geometry in window.geometries]
        least = min((r for r in ratios if r is not None), default=0.0)
        weight = min(weights[k] for weights in window.weights)
        if measured and None not in ratios and least >= RATIO:
            times = "infinitely many" if least == float("inf") else f"{math.floor(least):,}"
            found.append(
                _imbalance(
                    window,
                    "domination",
                    (name,),
                    f"'{name}' dominates the update: {_least(part)} of it {window.words}, with "
                    f"gradients at least {times} times as long as the median of the other tasks.",
                    "Use a method for which the scale of a task does not count",
                )
            )
        elif weight > SHARE and window.balance not in UNWEIGHTED:
            found.append(
                _imbalance(
                    window,
                    "weight",
                    (name,),
                    f"{window.balance} works for '{name}' almost alone: {_least(weight)} of the "
                    f"weight and {_least(part)} of the update {window.words}.",
                    "Use a method that moves all tasks",
                )
            )
    return found


def _neglected(window: _Window) -> list[Imbalance]:
    if window.geometries and window.updates < MIN_UPDATES:
        return []
    if not window.geometries and window.balance in UNWEIGHTED:
        return []
    # Parts in units of an equal share, of the tasks that still have something to learn.
    relative = {
        k: [parts[k] / window.equal(epoch, k) for epoch, parts in enumerate(window.parts)]
        for k in range(len(window.tasks))
        if window.learning(k) and not window.solved(k)
    }
    found = []
    overruled = [
        k
        for k, parts in relative.items()
        if max(parts) < OVERRULED
        and min(weights[k] for weights in window.weights) >= 0  # else less of it may be progress
        and _below_zero(parts, CHANCE / len(window.tasks))
    ]
    if overruled:
        overruled.sort(key=lambda k: max(relative[k]))
        names = tuple(window.tasks[k] for k in overruled)
        least = abs(max(relative[overruled[-1]]))
        found.append(
            _imbalance(
                window,
                "overruled",
                names,
                f"The update goes against {_quoted(names)} {window.words}: a part of minus "
                f"{_percent(least)} of an equal share, or worse.",
                "Use a method that never goes against a task",
            )
        )
    vanishing = [k for k, parts in relative.items() if max(map(abs, parts)) < NEGLIGIBLE]
    if vanishing:
        vanishing.sort(key=lambda k: max(relative[k]))
        names = tuple(window.tasks[k] for k in vanishing)
        most = max(relative[vanishing[-1]])
        most_words = "nothing" if most <= 0 else f"at most {_percent(most)} of an equal share"
        found.append(
            _imbalance(
                window,
                "vanishing",
                names,
                f"The update hardly serves {_quoted(names)} {window.words}: {most_words}, although "
                f"{'it is' if len(names) == 1 else 'they are'} far from learnt.",
                "Use a method that gives every task the same progress",
            )
        )
    return found


def _conflicts(window: _Window) -> list[Imbalance]:
    if window.never_conflicting:
        return []
    known = [g for g in window.geometries if g.cosines]
    pairs = list(combinations(range(len(window.tasks)), 2))
    quantile = NormalDist().inv_cdf(1.0 - CHANCE / max(len(pairs), 1))
    found = []
    for i, j in pairs:
        cosine, conflicts, updates = _pair(known, i, j)
        if cosine < COSINE and conflicts > 0.5 + 0.5 * quantile / max(updates, 1.0) ** 0.5:
            found.append((cosine, conflicts, i, j))
    if not found:
        return []
    found.sort()
    words = [
        f"'{window.tasks[i]}' and '{window.tasks[j]}' (mean cosine {_signed(cosine)}, against each "
        f"other in {_percent(conflicts)} of the updates)"
        for cosine, conflicts, i, j in found
    ]
    total = f"{len(found):,} of {len(pairs):,} pairs of tasks pull the shared weights apart"
    if len(found) == 1:
        told = f"{words[0]} pull the shared weights apart {window.words}."
    else:
        most = " most of all" if len(found) > SHOWN else ""
        told = f"{total} {window.words},{most} {listed(words, SHOWN)}."
    names = dict.fromkeys(window.tasks[k] for _, _, i, j in found for k in (i, j))
    return [
        _imbalance(
            window,
            "conflict",
            tuple(names),
            told,
            "Use a method whose update goes against no task, if one of them is worse than alone",
        )
    ]


def _failed_solves(window: _Window, history: Mapping[str, Any]) -> list[Imbalance]:
    known = [r["geometry"] for r in history["epochs"] if r.get("geometry") is not None]
    updates = sum(g["updates"] for g in known)
    failed = sum(g["flags"].get(NOT_CONVERGED, 0) for g in known)
    if failed <= FAILED * updates or failed < MIN_FAILED:
        return []
    return [
        _imbalance(
            window,
            "solver",
            (),
            f"The weights of {failed:,} of {updates:,} updates ({_percent(failed / updates)}) are "
            f"those at which {window.balance or 'the method'} gave up, not its solution.",
            "Use a method whose problem is solved in finitely many steps",
        )
    ]


def _imbalance(
    window: _Window, kind: str, tasks: tuple[str, ...], sentence: str, action: str
) -> Imbalance:
    method = next((name for name in SUGGESTED[kind] if name != window.balance), "")
    return Imbalance(kind, tasks, sentence, f"{action}.", f"--balance {method}")


def _pair(known: Sequence[TaskGeometry], i: int, j: int) -> tuple[float, float, float]:
    """Mean cosine, share of conflicts and number of updates of a pair over the window."""
    cosine, conflicts, updates = 0.0, 0.0, 0.0
    for geometry in known:
        found, against = geometry.cosines[i][j], geometry.conflicts[i][j]
        if found is None or against is None:
            continue
        # As often together as by chance: the number of common updates itself is not recorded.
        together = geometry.present[i] * geometry.present[j] / geometry.updates
        cosine, conflicts = cosine + together * found, conflicts + together * against
        updates += together
    return (cosine / updates, conflicts / updates, updates) if updates else (0.0, 0.0, 0.0)


def _below_zero(values: Sequence[float], chance: float) -> bool:
    """Student's test of one side; never from a single value."""
    from scipy.special import stdtr

    if len(values) < 2:
        return False
    error = stdev(values) / len(values) ** 0.5
    return not error or float(stdtr(len(values) - 1, fmean(values) / error)) < chance


def _ratio(geometry: TaskGeometry, task: int) -> float | None:
    """Norm of a task over the median norm of the others; None if either is unknown."""
    own = geometry.norms[task]
    others = [n for k, n in enumerate(geometry.norms) if k != task and n is not None]
    if own is None or not others:
        return None
    middle = median(others)
    return own / middle if middle else float("inf")


def _parts(values: Sequence[float]) -> list[float]:
    """Values as parts of the sum of their sizes."""
    total = sum(abs(value) for value in values)
    return [value / total for value in values] if total else [0.0] * len(values)


def _quoted(names: Sequence[str]) -> str:
    return listed([f"'{name}'" for name in names], SHOWN)


def _percent(share: float) -> str:
    return f"{100 * share:.2g}\N{NO-BREAK SPACE}%" if share < 0.995 else "100\N{NO-BREAK SPACE}%"


def _least(share: float) -> str:
    """A bound from below: rounded down. A part is above 1 where the others are overruled."""
    if share >= 0.995:
        return "practically all"
    return f"at least {math.floor(100 * share)}\N{NO-BREAK SPACE}%"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
