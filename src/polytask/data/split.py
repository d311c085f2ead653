"""Which rows train, which decide and which are never looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from polytask._checks import probability, unknown
from polytask.errors import DataError, InvalidArgument

from .forms import Form
from .labels import label_table
from .parse import (
    find_date_format,
    missing_cells,
    read_datetimes,
    read_levels,
    read_numbers,
    storage,
)
from .stratify import missing_labels, side_sizes
from .stratify import stratify as spread_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

    from .stratify import LabelTable

    Ints = NDArray[np.int64]

WORDS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
"""What a split column may say."""


@final
@dataclass(frozen=True)
class Split:
    """Rows of the table by what they are for; no row is in two parts.

    Args:
        train: Positions of the training rows, ascending.
        valid: Positions of the validation rows; may be empty.
        test: Positions of the test rows; may be empty.
        method: ``stratified``, ``random``, ``group``, ``time``, ``column`` or ``none``.
        promise: What holds for this split, in words.
    """

    train: Ints
    valid: Ints
    test: Ints
    method: str
    promise: str


def split_table(
    frame: DataFrame,
    form: Form,
    *,
    valid: float = 0.2,
    test: float = 0.0,
    stratify: bool = True,
    group: str | None = None,
    time: str | None = None,
    column: str | None = None,
    seed: int = 0,
) -> Split:
    """Splits a table at random or by a column.

    Args:
        frame: The table.
        form: Where its labels stand.
        valid: Fraction of validation rows; 0 for none.
        test: Fraction of test rows; 0 for none.
        stratify: Whether every class of every task, and every task of a long table, is spread in
            proportion and occurs on every side if it has rows enough.
        group: Rows with equal values of this column stay together.
        time: Validation is later than training, test later than validation.
        column: A column that says ``train``, ``valid`` or ``test``. If it never says ``valid``,
            the validation rows are taken from the training rows.
        seed: Of all that is left to chance.

    Raises:
        DataError: If there are too few rows, groups or points in time, or a column cannot be used.
        InvalidArgument: If two of `group`, `time` and `column` are given, or nothing is left to
            train on.

    Example:
        >>> import pandas
        >>> from polytask.data.forms import WideForm
        >>> from polytask.tasks import Binary
        >>> frame = pandas.DataFrame({"y": ["a"] * 8 + ["b"] * 2})
        >>> split = split_table(frame, WideForm((Binary("y"),)))
        >>> len(split.train), sorted(frame["y"].iloc[split.valid])
        (8, ['a', 'b'])
    """
    probability("split.valid", valid)
    probability("split.test", test)
    if valid + test >= 1:
        raise InvalidArgument(
            f"`split.valid` and `split.test` must add up to less than 1; got {valid:g} and "
            f"{test:g}. Nothing would be left to train on."
        )
    columns = {"data.group": group, "data.time": time, "data.split": column}
    given = {option: name for option, name in columns.items() if name is not None}
    if len(given) > 1:
        options = " and ".join(f"`{option}`" for option in given)
        raise InvalidArgument(f"Only one column can decide the split; got {options}. Keep one.")
    for option, name in given.items():
        if name not in frame.columns:
            raise unknown(option, name, [str(c) for c in frame.columns], DataError)
    if column is not None:
        return _by_column(frame, form, column, valid=valid, stratified=stratify, seed=seed)
    fractions = {"train": 1 - valid - test, "valid": valid, "test": test}
    fractions = {part: share for part, share in fractions.items() if share > 0}
    if len(fractions) == 1:
        return _split(np.zeros(len(frame), dtype=np.int64), fractions, "none", "every row trains")
    _require_rows(len(frame), fractions)
    generator = np.random.default_rng(seed)
    shares = np.array(list(fractions.values()))
    if time is not None:
        sides = _by_time(frame[time], shares)
        parts = " and later than ".join(reversed([_PARTS[part] for part in fractions]))
        return _split(sides, fractions, "time", f"by {time!r}: {parts}; equal times stay together")
    if group is not None:
        labels = label_table(frame, form)
        sides, alone = _by_group(frame[group], labels, shares, generator)
        words = f"no value of {group!r} is on two sides"
        if alone:
            words += f"; {alone} rows without a value stand alone"
        return _split(sides, fractions, "group", words + _except(labels, sides, len(shares)))
    if not stratify:
        sizes = side_sizes(len(frame), shares)
        sides = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
        return _split(sides, fractions, "random", "at random, without regard to labels")
    labels = label_table(frame, form)
    sides = spread_labels(labels, shares.tolist(), generator)
    words = "every class and task with two rows or more is in training and validation"
    if "valid" not in fractions:
        words = "every class and task with two rows or more is in training and test"
    if len(shares) == 3:
        words += ", with three or more also in test"
    return _split(sides, fractions, "stratified", words + _except(labels, sides, len(shares)))


_PARTS = {"train": "training", "valid": "validation", "test": "test"}


def _split(sides: Ints, parts: dict[str, float], method: str, promise: str) -> Split:
    rows = {part: np.flatnonzero(sides == place) for place, part in enumerate(parts)}
    none = np.zeros(0, dtype=np.int64)
    return Split(rows["train"], rows.get("valid", none), rows.get("test", none), method, promise)


def _except(labels: LabelTable, sides: Ints, num_sides: int) -> str:
    lacking = missing_labels(labels, sides, num_sides)
    if not lacking:
        return ""
    shown = ", ".join(repr(labels.names[label]) for label in lacking[:5])
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    return f"; not on every side: {shown}{more}"


def _require_rows(rows: int, parts: dict[str, float]) -> None:
    if rows > len(parts):
        return
    names = ", ".join(
        f"{_PARTS[part]} ({share:.0%})" for part, share in parts.items() if part != "train"
    )
    raise DataError(
        f"The table has {rows} row{'s' * (rows != 1)}, too few to split off {names} rows; at least "
        f"{len(parts) + 1} are needed. Add rows, or give validation rows with `--valid FILE`."
    )


def _by_time(column: Series, shares: NDArray[np.float64]) -> Ints:
    times = _times(column)
    gaps = int(np.isnan(times).sum())
    if gaps:
        raise DataError(
            f"The time column {column.name!r} has no value in {gaps} rows, so they are neither "
            "before nor after the others; fill them, or remove the rows."
        )
    distinct, counts = np.unique(times, return_counts=True)
    if len(distinct) < len(shares):
        raise DataError(
            f"The time column {column.name!r} has {len(distinct)} distinct "
            f"value{'s' * (len(distinct) != 1)}; splitting into {len(shares)} parts needs as many."
        )
    before = np.concatenate([[0], np.cumsum(counts)])
    cuts: list[int] = []
    for place, share in enumerate(np.cumsum(shares)[:-1]):
        # At least one distinct time for this side and for each that follows.
        low = cuts[-1] + 1 if cuts else 1
        high = len(distinct) - (len(shares) - 1 - place)
        nearest = np.abs(before[low : high + 1] - share * len(times)).argmin()
        cuts.append(low + int(nearest))
    return np.searchsorted(distinct[cuts], times, side="right").astype(np.int64)


def _times(column: Series) -> NDArray[np.float64]:
    kind = storage(column)
    if kind == "datetime":
        return read_datetimes(column)[0]
    numbers, strangers = read_numbers(column)
    if not strangers.any():
        return numbers
    date_format, _ = find_date_format(column) if kind == "text" else (None, "")
    if date_format is None:
        raise DataError(
            f"The time column {column.name!r} must hold numbers or dates (best as YYYY-MM-DD); "
            f"{int(strangers.sum())} cells are neither, for example "
            f"{str(column[strangers].iloc[0])[:40]!r}."
        )
    return read_datetimes(column, date_format)[0]


def _by_group(
    column: Series, labels: LabelTable, shares: NDArray[np.float64], generator: np.random.Generator
) -> tuple[Ints, int]:
    """Sides by whole groups, large groups first, each where it brings the labels nearest."""
    codes, _ = read_levels(column)
    alone = codes < 0
    codes = codes.copy()
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(int(alone.sum()))
    count = int(codes.max()) + 1
    if count < len(shares):
        raise DataError(
            f"The group column {column.name!r} has {count} group{'s' * (count != 1)}; splitting "
            f"into {len(shares)} parts without cutting a group needs at least as many."
        )
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes, minlength=count))[:-1])
    goal = np.concatenate([labels.counts, [len(codes)]])[:, None] * shares
    given = np.zeros_like(goal)
    sides = np.zeros(len(codes), dtype=np.int64)
    filled = np.zeros(len(shares), dtype=np.int64)
    shuffled = generator.permutation(count)
    by_size = shuffled[np.argsort([-len(members[g]) for g in shuffled], kind="stable")]
    for place, own in enumerate(by_size):
        rows = members[own]
        taken = labels.codes[rows]
        found, amounts = np.unique(taken[taken >= 0], return_counts=True)
        found = np.append(found, len(goal) - 1)
        amounts = np.append(amounts, len(rows))[:, None]
        # Change of Σ (given − goal)² / goal if the group goes to a side.
        cost = (amounts * (amounts + 2 * (given[found] - goal[found])) / goal[found]).sum(0)
        empty = np.flatnonzero(filled == 0)
        if len(empty) >= count - place:
            side = int(empty[0])  # the last groups fill the sides that are still empty
        else:
            side = int(cost.argmin())
        sides[rows] = side
        filled[side] += len(rows)
        given[found, side] += amounts[:, 0]
    return sides, int(alone.sum())


def _by_column(
    frame: DataFrame, form: Form, column: str, *, valid: float, stratified: bool, seed: int
) -> Split:
    cells = frame[column]
    gaps = int(missing_cells(cells).sum())
    codes, levels = read_levels(cells)
    strangers = [level for level in levels if level.lower() not in WORDS]
    if strangers or gaps:
        what = f"the value {strangers[0]!r}" if strangers else f"{gaps} empty cells"
        raise DataError(
            f"The split column {column!r} must say train, valid or test in every row; it has "
            f"{what}."
        )
    parts = np.array([WORDS[level.lower()] for level in levels])[codes]
    rows = {part: np.flatnonzero(parts == part) for part in _PARTS}
    if not len(rows["train"]):
        raise DataError(f"The split column {column!r} has no row that says 'train'.")
    promise = f"as the column {column!r} says"
    if not len(rows["valid"]) and valid > 0:
        inner = split_table(
            frame.iloc[rows["train"]], form, valid=valid, stratify=stratified, seed=seed
        )
        train, promise = (
            rows["train"],
            f"{promise}; validation rows taken from training: {inner.promise}",
        )
        rows |= {"train": train[inner.train], "valid": train[inner.valid]}
    return Split(rows["train"], rows["valid"], rows["test"], "column", promise)
