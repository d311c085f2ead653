"""The labels of all rows and tasks as numbers, for splitting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .forms import Form, LongForm
from .stratify import NO_LABEL, LabelTable, quantile_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    Ints = NDArray[np.int64]

NUMERIC_KINDS = ("regression", "count")


def label_table(frame: DataFrame, form: Form) -> LabelTable:
    """Every class of every task as a hard label; numeric targets as bins that only steer.

    That a task has a label at all is a hard label too, so every task is on every side.

    Args:
        frame: The rows to split.
        form: Where their labels stand.
    """
    if isinstance(form, LongForm):
        return _long(frame, form)
    columns: list[tuple[Ints, list[str], bool]] = []
    for spec, values in form.all_values(frame):
        blocks = values.T if values.ndim == 2 else [values]
        for column, block in zip(spec.source_columns, blocks, strict=True):
            if spec.kind in NUMERIC_KINDS:
                known = ~_gaps(block)
                if not known.all():
                    columns.append((known.astype(np.int64) - 1, [spec.name], True))
                columns.append(_binned(_numbers(block), f"{column} bin"))
            else:
                codes, classes = _classes(block)
                columns.append((codes, [f"{column} = {label}" for label in classes], True))
    return _joined(columns, len(frame))


def _long(frame: DataFrame, form: LongForm) -> LabelTable:
    positions = form.positions(frame)
    kind = form.template.kind
    columns: list[tuple[Ints, list[str], bool]] = []
    pooled = form.pooled_values(frame)
    parts = pooled.T if pooled.ndim == 2 else [pooled]
    names = [spec.name for spec in form.specs]
    labelled = (positions >= 0) & ~np.all([_gaps(part) for part in parts], axis=0)
    columns.append((np.where(labelled, positions, NO_LABEL), names, True))
    for part in parts:
        codes = np.full(len(frame), NO_LABEL, dtype=np.int64)
        labels: list[str] = []
        if kind in NUMERIC_KINDS:
            values = _numbers(part)
            for place, name in enumerate(names):
                rows = np.flatnonzero(positions == place)
                own, bins, _ = _binned(values[rows], f"{name} bin")
                codes[rows] = np.where(own >= 0, own + len(labels), NO_LABEL)
                labels += bins
        else:
            own, classes = _classes(part)
            both = (positions >= 0) & (own >= 0)
            codes[both] = positions[both] * len(classes) + own[both]
            labels = [f"{name}: {label}" for name in names for label in classes]
        columns.append((codes, labels, kind not in NUMERIC_KINDS))
    return _joined(columns, len(frame))


def _joined(columns: list[tuple[Ints, list[str], bool]], rows: int) -> LabelTable:
    names: list[str] = []
    hard: list[bool] = []
    codes = np.full((rows, len(columns)), NO_LABEL, dtype=np.int64)
    for place, (own, labels, firm) in enumerate(columns):
        codes[:, place] = np.where(own >= 0, own + len(names), NO_LABEL)
        names += labels
        hard += [firm] * len(labels)
    return LabelTable(codes, tuple(names), np.array(hard, dtype=bool))


def _binned(values: NDArray[np.float64], name: str) -> tuple[Ints, list[str], bool]:
    codes = quantile_bins(values)
    count = int(codes.max(initial=-1)) + 1
    return codes, [f"{name} {place + 1}" for place in range(count)], False


def _classes(values: NDArray[Any]) -> tuple[Ints, list[str]]:
    import pandas

    codes, distinct = pandas.factorize(values)
    return codes.astype(np.int64), [str(value) for value in distinct.tolist()]


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers; texts among them (an error that fitting the task reports) count as gaps."""
    import pandas

    if values.dtype != object:
        return values.astype(np.float64)
    numbers = pandas.to_numeric(pandas.Series(values, dtype=object), errors="coerce")
    return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan))


def _gaps(values: NDArray[Any]) -> NDArray[np.bool_]:
    import pandas

    return np.asarray(pandas.isna(values), dtype=bool)
