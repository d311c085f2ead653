"""Inputs that give a target away: exact linear relations, and columns that determine a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .finding import Finding
from .forms import Form, LongForm
from .parse import read_booleans, read_datetimes, read_levels, read_numbers
from .relations import VARYING_ROWS, Relation, find_relations
from .schema import ColumnKind, ColumnSchema

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

    from polytask.tasks.base import TaskSpec

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

SAMPLE = 4000
"""Rows that are looked at; a relation that holds in each of so many is not chance."""
INDICATORS = 20
"""Categories and classes with up to so many levels enter linear relations level by level."""
LEVEL_SHARE = 0.2
"""A column with more levels than this share of the rows determines everything by chance."""
PURE = 0.995
PURE_ROWS = 30
PURE_SHARE = 0.05
USUAL_SHARE = 0.6


def find_leaks(
    frame: DataFrame, form: Form, columns: Sequence[ColumnSchema], *, seed: int = 0
) -> list[Finding]:
    """Inputs that determine a target, each with how, and what to type.

    Args:
        frame: Training rows.
        form: Where the labels stand.
        columns: The input columns.
        seed: Of the sample of rows.
    """
    if len(frame) > SAMPLE:
        rows = np.random.default_rng(seed).choice(len(frame), SAMPLE, replace=False)
        frame = frame.iloc[np.sort(rows)]
    targets = [column for spec, values in _labels(frame, form) for column in _target(spec, values)]
    features = [column for schema in columns for column in _features(frame[schema.name], schema)]
    findings = []
    if targets and features:
        relations = find_relations(_matrix(targets), _matrix(features), seed=seed)
        # Several indicators of one category are one fact.
        told_once = {f.columns: f for f in (_linear(r, targets, features) for r in relations[::-1])}
        findings = list(told_once.values())[::-1]
    told = {name for finding in findings for name in finding.columns}
    for spec, values in _labels(frame, form):
        blocks = values.T if values.ndim == 2 else [values]
        for name, block in zip(spec.source_columns, blocks, strict=True):
            findings += _by_levels(frame, name, block, columns, told, seed)
    return findings


@dataclass(frozen=True)
class _Column:
    """One numeric column of the search: what it is called, and where it comes from."""

    label: str
    source: str
    values: Floats


def _labels(frame: DataFrame, form: Form) -> list[tuple[TaskSpec, NDArray[Any]]]:
    if isinstance(form, LongForm):
        return [(form.template, form.pooled_values(frame))]
    return list(form.all_values(frame))


def _target(spec: TaskSpec, values: NDArray[Any]) -> list[_Column]:
    """A number as it is; a class as indicators of all classes but the last."""
    import pandas

    columns = []
    blocks = values.T if values.ndim == 2 else [values]
    for name, block in zip(spec.source_columns, blocks, strict=True):
        if spec.kind in ("regression", "count"):
            if block.dtype != object:
                columns.append(_Column(name, name, block.astype(np.float64)))
            continue
        codes, classes = pandas.factorize(block, sort=False)
        if len(classes) <= INDICATORS:
            columns += [
                _Column(f"{name} = {label}", name, np.where(codes < 0, np.nan, codes == place))
                for place, label in list(enumerate(classes.tolist()))[:-1]
            ]
    return columns


def _features(column: Series, schema: ColumnSchema) -> list[_Column]:
    name = schema.name
    if schema.kind is ColumnKind.CATEGORY:
        codes, levels = read_levels(column)
        if len(levels) > INDICATORS:
            return []
        columns = [
            _Column(f"{name} = {level}", name, (codes == place).astype(np.float64))
            for place, level in enumerate(levels)
        ]
        gaps = codes < 0
    else:
        if schema.kind is ColumnKind.BOOLEAN:
            values = read_booleans(column)[0]
        elif schema.kind is ColumnKind.DATETIME:
            values = read_datetimes(column, schema.date_format)[0]
        else:
            values = read_numbers(column)[0]
        columns, gaps = [_Column(name, name, values)], np.isnan(values)
    if gaps.sum() >= VARYING_ROWS:
        columns.append(_Column(f"{name} is missing", name, gaps.astype(np.float64)))
    return columns


def _matrix(columns: Sequence[_Column]) -> Floats:
    return np.stack([column.values for column in columns], axis=1)


def _linear(relation: Relation, targets: Sequence[_Column], features: Sequence[_Column]) -> Finding:
    ts = {targets[k].label: weight for k, weight in relation.targets.items()}
    xs = {features[j].label: weight for j, weight in relation.features.items()}
    sources = list(dict.fromkeys(features[j].source for j in relation.features))
    target_names = list(dict.fromkeys(targets[k].source for k in relation.targets))
    if len(xs) == 1:
        (left, pivot), rest = next(iter(xs.items())), ts
    else:
        left = max(ts, key=lambda name: abs(ts[name]))
        pivot, rest = ts[left], {k: w for k, w in ts.items() if k != left} | xs
    formula = _formula({name: -w / pivot for name, w in rest.items()}, -relation.constant / pivot)
    plural = "targets" if len(target_names) > 1 else "target"
    shown = " and ".join(repr(name) for name in target_names[:3])
    several = sum(column.source == target_names[0] for column in targets) > 1
    part = "classes of " if several else ""
    return Finding(
        "leak-linear",
        "danger",
        (*sources, *target_names),
        f"{left!r} = {formula} in all of {relation.rows} rows that were checked: "
        f"{part}the {plural} {shown} can be computed from the inputs.",
        _advice(sources),
    )


def _formula(weights: dict[str, float], constant: float) -> str:
    largest = sorted(weights, key=lambda name: -abs(weights[name]))[:6]
    text = ""
    for name in (name for name in weights if name in largest):
        weight = weights[name]
        sign = " - " if weight < 0 else " + "
        factor = "" if f"{abs(weight):.4g}" == "1" else f"{abs(weight):.4g} · "
        text += f"{sign}{factor}{name!r}"
    if len(weights) > len(largest):
        text += f" + … ({len(weights)} columns)"
    if abs(constant) > 1e-9 * max(1.0, *(abs(w) for w in weights.values())):
        text += f"{' - ' if constant < 0 else ' + '}{abs(constant):.4g}"
    return text.removeprefix(" + ").replace(" - ", "-", 1) if text.startswith(" - ") else text[3:]


def _advice(sources: Sequence[str]) -> str:
    options = " ".join(f"--ignore {_quoted(name)}" for name in sources[:4])
    if len(sources) == 1:
        return f"Unless it is known before the target is, leave it out: {options}"
    return f"Leave out those that are not known before the target is: {options}"


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"


def _by_levels(
    frame: DataFrame,
    target: str,
    values: NDArray[Any],
    columns: Sequence[ColumnSchema],
    told: set[str],
    seed: int,
) -> list[Finding]:
    """Columns with few levels, each of which has one class only."""
    import pandas

    codes, classes = pandas.factorize(values)
    numeric = values.dtype != object and len(classes) > INDICATORS
    if len(classes) < 2 or (numeric and len(classes) > LEVEL_SHARE * len(values)):
        return []
    findings = []
    order = np.random.default_rng(seed).permutation(len(values))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    for column in columns:
        if column.name in told:
            continue
        cells, levels = read_levels(frame[column.name])
        cells = cells + 1  # an empty cell is a level too
        if not 2 <= len(np.unique(cells)) <= LEVEL_SHARE * len(values):
            continue
        if _determines(cells, codes, halves):
            findings.append(_determined(column.name, target, levels))
        elif not numeric:
            findings += _pure_levels(column.name, target, cells, levels, codes, classes.tolist())
    return findings


def _determines(cells: Ints, codes: Ints, halves: tuple[Ints, Ints]) -> bool:
    """Whether the class of each level in the first half is its class in the second, always."""
    first, second = (half[codes[half] >= 0] for half in halves)
    table = np.zeros((int(cells.max()) + 1, int(codes.max()) + 1), dtype=np.int64)
    np.add.at(table, (cells[first], codes[first]), 1)
    if (np.count_nonzero(table, axis=1) > 1).any():
        return False
    seen = table[cells[second]].any(1)
    second = second[seen]
    if len(second) < 20 or not (table[cells[second]].argmax(1) == codes[second]).all():
        return False
    counts = np.bincount(codes[second])
    return bool(counts.sum() - counts.max() >= VARYING_ROWS)


def _determined(column: str, target: str, levels: Sequence[str]) -> Finding:
    return Finding(
        "leak-determined",
        "danger",
        (column, target),
        f"{column!r} determines the target {target!r}: each of its {len(levels)} values occurs "
        "with one value of the target only.",
        _advice([column]),
    )


def _pure_levels(
    column: str, target: str, cells: Ints, levels: Sequence[str], codes: Ints, classes: list[Any]
) -> list[Finding]:
    """A frequent level that comes with one class although that class is not the usual one."""
    known = codes >= 0
    table = np.zeros((len(levels) + 1, len(classes)), dtype=np.int64)
    np.add.at(table, (cells[known], codes[known]), 1)
    rows, best = table.sum(1), table.max(1)
    usual = table.sum(0) / max(table.sum(), 1)
    telling = (rows >= max(PURE_ROWS, PURE_SHARE * rows.sum())) & (best >= PURE * rows)
    telling &= usual[table.argmax(1)] <= USUAL_SHARE
    places = [place for place in np.flatnonzero(telling).tolist() if place]
    if not places:
        return []
    place = max(places, key=lambda p: rows[p])
    label = classes[int(table[place].argmax())]
    more = f" ({len(places)} such values)" if len(places) > 1 else ""
    return [
        Finding(
            "strong-level",
            "info",
            (column, target),
            f"Of the rows with {column!r} = {levels[place - 1]!r}, {best[place] / rows[place]:.1%} "
            f"have {target!r} = {label!r}, which {usual[table[place].argmax()]:.0%} of all rows "
            f"have{more}.",
            f"If that is the same fact told twice, leave it out: --ignore {_quoted(column)}",
        )
    ]
