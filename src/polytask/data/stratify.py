"""Random sides on which every label occurs: iterative stratification over several targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

NO_LABEL = -1

MAX_BINS = 10
ROWS_PER_BIN = 10
"""A numeric target is cut into at most `MAX_BINS` quantile bins of about so many rows."""

REPAIR_ROUNDS = 20
"""Moves tried per label that lacks a side."""

WISH = 0.01
"""Cost of a label of one row outside training, against 1 for a broken requirement."""


@dataclass(frozen=True)
class LabelTable:
    """The labels of all rows, each a number of its own.

    Args:
        codes: ``[rows, columns]``; a column is one target, `NO_LABEL` where it has no label.
        names: What each label means, such as ``"sex = female"``.
        hard: ``[labels]``; True for labels that must occur on every side (classes, tasks), False
            for bins of numbers, which only steer.
    """

    codes: Ints
    names: tuple[str, ...]
    hard: NDArray[np.bool_]

    @property
    def counts(self) -> Ints:
        """Rows of each label."""
        return self.rows_of(np.arange(len(self.codes)))

    def rows_of(self, rows: Ints) -> Ints:
        """Of the given rows, how many have each label."""
        taken = self.codes[rows].ravel()
        return np.bincount(taken[taken >= 0], minlength=len(self.names))


def stratify(
    labels: LabelTable, fractions: Sequence[float], generator: np.random.Generator
) -> Ints:
    r"""Assigns every row to a side so that each label is spread in proportion.

    The label with the fewest unassigned rows is served first: its rows are dealt to the sides in
    proportion to what each side still lacks of it, rows with the same other labels next to each
    other, so that those are spread as well. A local search then moves rows until every hard label
    with enough rows occurs on every side: with two rows on the first two sides, with three or more
    on all. Such a split need not exist (three labels of two rows each, pairwise sharing a row);
    `missing_labels` says what is left.

    Args:
        labels: The labels of all rows.
        fractions: Of each side, the first is training; they sum to 1.
        generator: Decides all that is left to chance.

    Returns:
        ``[rows]`` position of each row's side.

    Reference:
        K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the Stratification of Multi-label Data",
        ECML PKDD 2011, https://doi.org/10.1007/978-3-642-23808-6_10.
    """
    sides = _deal(labels, np.asarray(fractions, dtype=np.float64), generator)
    _repair(labels, sides, len(fractions), generator)
    _even_out(labels, sides, np.asarray(fractions), generator)
    return sides


def missing_labels(labels: LabelTable, sides: Ints, num_sides: int) -> list[int]:
    """Hard labels that do not occur on every side that they have rows enough for."""
    present = _present(labels, sides, num_sides) > 0
    return np.flatnonzero((_required(labels, num_sides) & ~present).any(1)).tolist()


def _deal(
    labels: LabelTable, fractions: NDArray[np.float64], generator: np.random.Generator
) -> Ints:
    codes, rows = labels.codes, len(labels.codes)
    sides = np.full(rows, -1, dtype=np.int64)
    remaining = labels.counts
    wanted = remaining[:, None] * fractions  # what each side still lacks, per label
    total = rows * fractions
    required = _required(labels, len(fractions))
    single = labels.hard & (remaining == 1)
    present = np.zeros_like(required, dtype=np.int64)
    # Rows of a label are found in a list sorted by label, without searching the whole table.
    flat = codes.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(len(labels.names) + 1))
    owners = order // max(codes.shape[1], 1)
    open_labels = remaining > 0
    while open_labels.any():
        label = int(np.where(open_labels, remaining, rows + 1).argmin())
        open_labels[label] = False
        members = owners[starts[label] : starts[label + 1]]
        members = members[sides[members] < 0]
        if not len(members):
            continue
        members = members[_alike_together(codes[members], generator)]
        quotas = _quotas(len(members), wanted[label], fractions, total, generator)
        if single[label]:
            quotas = np.eye(len(fractions), dtype=np.int64)[0]
        _at_least_one(quotas, required[label] & (present[label] == 0))
        dealt = _deal_in_turn(quotas, generator)
        sides[members] = dealt
        taken = codes[members]
        known = taken >= 0
        pairs = (taken[known], np.repeat(dealt, known.sum(1)))
        np.subtract.at(remaining, taken[known], 1)
        np.subtract.at(wanted, pairs, 1.0)
        np.add.at(present, pairs, 1)
        total = total - np.bincount(dealt, minlength=len(fractions))
    rest = generator.permutation(np.flatnonzero(sides < 0))
    if len(rest):
        quotas = _quotas(len(rest), total, fractions, total, generator)
        sides[rest] = np.repeat(np.arange(len(fractions)), quotas)
    return sides


def _alike_together(codes: Ints, generator: np.random.Generator) -> Ints:
    """An order in which rows with equal labels are neighbours, random otherwise."""
    shuffled = generator.permutation(len(codes))
    names = [generator.permutation(column.max() + 2)[column + 1] for column in codes[shuffled].T]
    return shuffled[np.lexsort(names)]


def _quotas(
    count: int,
    wanted: NDArray[np.float64],
    fractions: NDArray[np.float64],
    total: NDArray[np.float64],
    generator: np.random.Generator,
) -> Ints:
    """How many of `count` rows go to each side; rounding favours the side that lacks most rows."""
    share = np.clip(wanted, 0, None)
    share = share / share.sum() if share.sum() > 0 else fractions
    exact = count * share
    quotas = np.floor(exact).astype(np.int64)
    left = count - int(quotas.sum())
    if left:
        lack = (total - quotas) / np.maximum(fractions, 1e-12)
        lack = lack + generator.random(len(lack)) * 1e-6
        lack = np.where(exact > quotas, lack, -np.inf)
        for side in np.argsort(-lack, kind="stable")[:left]:
            quotas[side] += 1
        quotas[0] += count - int(quotas.sum())
    return quotas


def _at_least_one(quotas: Ints, needy: NDArray[np.bool_]) -> None:
    """Takes from the largest quota, in place, for sides that still need this label."""
    for side in np.flatnonzero(needy & (quotas == 0)):
        largest = int(quotas.argmax())
        if quotas[largest] > (1 if needy[largest] else 0):
            quotas[largest] -= 1
            quotas[side] += 1


def _deal_in_turn(quotas: Ints, generator: np.random.Generator) -> Ints:
    """Sides in an order that spreads each of them evenly, from random starting points."""
    places = [(np.arange(quota) + generator.random()) / max(quota, 1) for quota in quotas.tolist()]
    sides = np.repeat(np.arange(len(quotas)), quotas)
    return sides[np.argsort(np.concatenate(places), kind="stable")]


def _required(labels: LabelTable, num_sides: int) -> NDArray[np.bool_]:
    """``[labels, sides]``: where a hard label has to occur."""
    counts = labels.counts[:, None]
    side = np.arange(num_sides)
    enough = (counts >= num_sides) | ((counts >= 2) & (side < 2))
    return labels.hard[:, None] & enough


def _wished(labels: LabelTable, num_sides: int) -> NDArray[np.float64]:
    """What it costs if a label vanishes from a side: 1 where required.

    A label of one row should be in training, where something can be learned from it; that wish
    yields to every requirement.
    """
    cost = _required(labels, num_sides).astype(np.float64)
    cost[labels.hard & (labels.counts == 1), 0] = WISH
    return cost


def _present(labels: LabelTable, sides: Ints, num_sides: int) -> Ints:
    return np.stack([labels.rows_of(np.flatnonzero(sides == s)) for s in range(num_sides)], axis=1)


def _repair(
    labels: LabelTable, sides: Ints, num_sides: int, generator: np.random.Generator
) -> None:
    """Moves rows, in place, until every required label occurs where it must, or patience ends."""
    required, present = _required(labels, num_sides), _present(labels, sides, num_sides)
    cost = _wished(labels, num_sides)
    lacking = np.argwhere(required & (present == 0))
    budget = REPAIR_ROUNDS * (len(lacking) + 10)
    best, fewest = sides.copy(), len(lacking)
    while len(lacking) and budget:
        budget -= 1
        label, side = lacking[generator.integers(len(lacking))]
        candidates = np.flatnonzero((labels.codes == label).any(1))
        candidates = generator.permutation(candidates)[:64]
        harm = [_harm(labels, cost, present, int(row), int(sides[row])) for row in candidates]
        lowest = int(np.argmin(harm))
        # Now and then a random move, or the search would run in a circle.
        chosen = lowest if generator.random() > 0.1 else int(generator.integers(len(harm)))
        _move(labels, sides, present, int(candidates[chosen]), int(side))
        lacking = np.argwhere(required & (present == 0))
        if len(lacking) < fewest:
            best, fewest = sides.copy(), len(lacking)
    sides[:] = best


def _harm(
    labels: LabelTable, cost: NDArray[np.float64], present: Ints, row: int, side: int
) -> float:
    """Cost of the labels that would vanish from `side` without `row`."""
    own = labels.codes[row]
    own = own[own >= 0]
    return float((cost[own, side] * (present[own, side] == 1)).sum())


def _move(labels: LabelTable, sides: Ints, present: Ints, row: int, side: int) -> None:
    own = labels.codes[row]
    own = own[own >= 0]
    present[own, sides[row]] -= 1
    present[own, side] += 1
    sides[row] = side


def _even_out(
    labels: LabelTable,
    sides: Ints,
    fractions: NDArray[np.float64],
    generator: np.random.Generator,
) -> None:
    """Brings the sizes of the sides back to the fractions where no required label pays for it."""
    num_sides = len(fractions)
    goal = side_sizes(len(sides), fractions)
    cost, present = _wished(labels, num_sides), _present(labels, sides, num_sides)
    excess = np.bincount(sides, minlength=num_sides) - goal
    for row in generator.permutation(len(sides)).tolist():
        if not excess.any():
            return
        side, poorest = int(sides[row]), int(excess.argmin())
        if excess[side] > 0 and not _harm(labels, cost, present, row, side):
            _move(labels, sides, present, row, poorest)
            excess[side] -= 1
            excess[poorest] += 1


def side_sizes(rows: int, fractions: NDArray[np.float64]) -> Ints:
    """Rows of each side, the first gets what rounding leaves; at least one each."""
    sizes = np.maximum(np.floor(rows * fractions + 0.5).astype(np.int64), 1)
    sizes[0] = rows - sizes[1:].sum()
    return sizes


def quantile_bins(values: NDArray[Any], rows: int | None = None) -> Ints:
    """Bins of about equal size of a numeric target, `NO_LABEL` for gaps."""
    known = ~np.isnan(values)
    count = int(known.sum()) if rows is None else rows
    bins = int(np.clip(count // ROWS_PER_BIN, 1, MAX_BINS))
    codes = np.full(len(values), NO_LABEL, dtype=np.int64)
    if known.any():
        edges = np.unique(np.quantile(values[known], np.arange(1, bins) / bins))
        codes[known] = np.searchsorted(edges, values[known], side="right")
    return codes
