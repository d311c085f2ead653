"""What is worth knowing about a table before training on it, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polytask.tasks.base import Task
from polytask.tasks.classes import read_labels

from .finding import Finding
from .forms import Form, LongForm
from .leaks import find_leaks
from .parse import read_booleans, read_datetimes, read_levels, read_numbers
from .schema import ColumnKind, ColumnSchema, TableSchema

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

SMALL_CLASS = 5
"""Fewer validation rows of a class than this, and its metrics are chance."""
FEW_LABELS = 30
NATURAL_COPIES = 0.5
"""With fewer distinct rows than this share, equal rows are what the columns allow, no mistake."""
ORDERED = 0.25
"""Neighbouring rows nearer to each other than this share of the usual distance form a series."""

_WEIGHT = re.compile(r"wgt$|(^|_)(sample|sampling|instance|survey|row)_?weight|^fnlwgt$")
_CODE = re.compile(r"(^|_)(code|zip|zipcode|postcode|plz)(_|$)")
_ENTITY = re.compile(r"(^|_)(id|uuid)$|^(patient|customer|user|subject|household|client|person)$")


def find_problems(
    frames: Mapping[str, DataFrame],
    *,
    schema: TableSchema,
    form: Form,
    tasks: Sequence[Task],
    inputs: Sequence[str],
    seed: int = 0,
    method: str = "stratified",
) -> list[Finding]:
    """Looks for what makes scores too good, or meaningless, and for columns that do not help.

    Args:
        frames: Part (``train``, ``valid``, ``test``) → its rows.
        schema: Every column as it was understood.
        form: Where labels stand.
        tasks: The fitted tasks.
        inputs: Names of the input columns.
        seed: Of the rows that are sampled.
        method: How the rows were split, as `Split.method` says.

    Returns:
        Findings, the gravest first.
    """
    train = frames["train"]
    columns = schema.inputs(inputs)
    taken = {*form.target_columns, *form.ids}
    if isinstance(form, LongForm):
        taken.add(form.task_column)
    findings = [
        *find_leaks(train, form, columns, seed=seed),
        *_copies(frames, form, columns),
        *_small_classes(frames, form, tasks),
        *_unused(schema, taken),
        *_names(columns, train),
    ]
    if method in ("stratified", "random"):
        findings += _order(train, columns, seed)
    grave = {"danger": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda finding: grave[finding.severity])


def _copies(
    frames: Mapping[str, DataFrame], form: Form, columns: Sequence[ColumnSchema]
) -> list[Finding]:
    """Rows of validation or test that training has too."""
    names = [column.name for column in columns]
    labels = list(form.target_columns)
    own = [form.task_column] if isinstance(form, LongForm) else []
    hashes = {
        part: (
            _row_hashes(frame, columns, own),
            _row_hashes(frame, columns, [*own, *(c for c in labels if c in frame.columns)]),
        )
        for part, frame in frames.items()
    }
    findings = []
    train, train_full = hashes["train"]
    distinct = len(np.unique(train)) / max(len(train), 1)
    for part, words in (("valid", "validation"), ("test", "test")):
        if part not in hashes or not names:
            continue
        inputs, full = hashes[part]
        same = int(np.isin(inputs, train).sum())
        exact = int(np.isin(full, train_full).sum())
        if not same:
            continue
        grave = same >= max(2, 0.01 * len(inputs)) and distinct >= NATURAL_COPIES
        findings.append(
            Finding(
                "duplicate-rows",
                "warning" if grave else "info",
                (),
                f"{same} of {len(inputs)} {words} rows {'have' if same > 1 else 'has'} the same "
                f"inputs as a training row, {exact or 'none'} of them the same targets too: scores "
                "on them measure memory.",
                "Remove the copies, or keep equal rows together: --group COLUMN" if grave else "",
            )
        )
    return findings


def _row_hashes(
    frame: DataFrame, columns: Sequence[ColumnSchema], others: Sequence[str]
) -> NDArray[np.uint64]:
    total = np.zeros(len(frame), dtype=np.uint64)
    pieces = [_hash(frame[column.name], column) for column in columns]
    pieces += [_hash(frame[name], None) for name in others]
    with np.errstate(over="ignore"):
        for piece in pieces:
            total = total * np.uint64(0x9E3779B97F4A7C15) + piece
            total ^= total >> np.uint64(29)
    return total


def _hash(column: Series, schema: ColumnSchema | None) -> NDArray[np.uint64]:
    from pandas.util import hash_array

    if schema is not None and schema.kind is not ColumnKind.CATEGORY:
        if schema.kind is ColumnKind.BOOLEAN:
            values = read_booleans(column)[0]
        elif schema.kind is ColumnKind.DATETIME:
            values = read_datetimes(column, schema.date_format)[0]
        else:
            values = read_numbers(column)[0]
        return np.asarray(hash_array(values + 0.0))  # -0.0 and 0.0 are one number
    codes, levels = read_levels(column)
    hashes = hash_array(np.array(["", *levels], dtype=object), categorize=False)
    return np.asarray(hashes[codes + 1])


def _small_classes(
    frames: Mapping[str, DataFrame], form: Form, tasks: Sequence[Task]
) -> list[Finding]:
    """Classes, and tasks, with too few validation rows to judge."""
    if "valid" not in frames:
        return []
    kinds = {task.name: task.spec.kind for task in tasks}
    small: list[tuple[str, str]] = []
    few: list[tuple[int, str]] = []
    for spec, values in form.all_values(frames["valid"]):
        if spec.name not in kinds:
            continue
        blocks = values.T if values.ndim == 2 else [values]
        known = sum(int((~_gaps(block)).sum()) for block in blocks) / len(blocks)
        if known < FEW_LABELS:
            few.append((int(known), spec.name))
            continue
        if kinds[spec.name] in ("regression", "count"):
            continue
        for column, block in zip(spec.source_columns, blocks, strict=True):
            small += [(column, text) for text in _rare(block)]
    findings = []
    if small:
        shown = "; ".join(f"{column!r}: {text}" for column, text in small[:5])
        more = f"; and {len(small) - 5} more" if len(small) > 5 else ""
        findings.append(
            Finding(
                "small-class",
                "warning",
                tuple(dict.fromkeys(column for column, _ in small)),
                f"Classes with fewer than {SMALL_CLASS} validation rows are too small to judge: "
                f"{shown}{more}.",
                "Metrics that treat classes alike (AUC, balanced accuracy) are unreliable there; "
                "join rare classes, or give more validation rows.",
            )
        )
    if few:
        fewest, name = min(few)
        findings.append(
            Finding(
                "few-labels",
                "info" if len(few) > 1 and isinstance(form, LongForm) else "warning",
                (),
                f"{len(few)} of {len(kinds)} task{'s' * (len(kinds) > 1)} "
                f"{'have' if len(few) > 1 else 'has'} fewer than {FEW_LABELS} validation labels "
                f"(the fewest: {name!r} with {fewest}).",
                "Do not compare single tasks; look at all of them together.",
            )
        )
    return findings


def _rare(values: NDArray[Any]) -> list[str]:
    codes, classes = read_labels("target", values)
    counts = np.bincount(codes[codes >= 0], minlength=len(classes))
    return [
        f"{label!r} has {count}"
        for label, count in zip(classes, counts.tolist(), strict=True)
        if count < SMALL_CLASS
    ]


def _unused(schema: TableSchema, taken: set[str]) -> list[Finding]:
    findings = []
    for kind, code, what in (
        (ColumnKind.CONSTANT, "constant-columns", "constant and not used"),
        (ColumnKind.IDENTIFIER, "identifier-columns", "taken for {} and not used"),
    ):
        columns = [
            column
            for column in schema.columns
            if column.kind is kind and column.name not in taken and column.reason != "set by you"
        ]
        if not columns:
            continue
        many = len(columns) > 1
        shown = ", ".join(repr(column.name) for column in columns[:5])
        more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
        count = f"{len(columns)} column{'s are' if many else ' is'}"
        words = what.format("identifiers" if many else "an identifier")
        reason = "" if many else f" ({columns[0].reason})"
        advice = ""
        if kind is ColumnKind.IDENTIFIER:
            other = "numeric" if "number" in columns[0].reason else "category"
            advice = (
                f"If {'one of them' if many else 'it'} does hold information, say what it is: "
                f"--set data.kinds.{columns[0].name}={other}"
            )
        findings.append(
            Finding(
                code,
                "info",
                tuple(column.name for column in columns),
                f"{count} {words}: {shown}{more}{reason}.",
                advice,
            )
        )
    return findings


def _names(columns: Sequence[ColumnSchema], train: DataFrame) -> list[Finding]:
    """Inputs whose name or cells say that they are something else."""
    findings = []
    for column in columns:
        name = column.name.lower()
        if "decimal comma" in column.reason or "month cannot" in column.reason:
            findings.append(
                Finding("unread-column", "warning", (column.name,),
                        f"{column.name!r} is used as a category because {column.reason}.",
                        "Rewrite the column before training.")
            )  # fmt: skip
        elif _WEIGHT.search(name) and column.kind is ColumnKind.NUMERIC:
            findings.append(
                Finding("weight-column", "info", (column.name,),
                        f"{column.name!r} is used as an input, but its name says that it weighs "
                        "rows.",
                        f"--weight {column.name}, or --ignore {column.name}")
            )  # fmt: skip
        elif _CODE.search(name) and column.kind is ColumnKind.NUMERIC and column.unique > 2:
            findings.append(
                Finding("code-column", "info", (column.name,),
                        f"{column.name!r} holds numbers, but its name says that they are codes, "
                        "whose size means nothing.",
                        f"--set data.kinds.{column.name}=category")
            )  # fmt: skip
        elif _ENTITY.search(name) and 2 < column.unique < 0.9 * len(train):
            findings.append(
                Finding("group-column", "info", (column.name,),
                        f"{column.name!r} has {column.unique} values that repeat: rows of one of "
                        "them may stand on both sides of the split.",
                        f"--group {column.name}")
            )  # fmt: skip
    return findings


def _order(train: DataFrame, columns: Sequence[ColumnSchema], seed: int) -> list[Finding]:
    """Dates among the inputs, or rows that resemble the row before: a random split flatters."""
    dates = [column.name for column in columns if column.kind is ColumnKind.DATETIME]
    if dates:
        return [
            Finding(
                "time-column",
                "info",
                tuple(dates[:1]),
                f"The rows have dates ({dates[0]!r}), but the split is random: it measures how "
                "well gaps between known rows are filled, not how well the future is predicted.",
                f"To predict the future: --time {_quoted(dates[0])}",
            )
        ]
    numeric = [column.name for column in columns if column.kind is ColumnKind.NUMERIC][:50]
    if len(numeric) < 3 or len(train) < 30:
        return []
    head = train.iloc[:2000]
    values = np.stack([read_numbers(head[name])[0] for name in numeric], axis=1)
    spread = np.nanstd(values, axis=0)
    values = values[:, spread > 0] / spread[spread > 0]
    if values.shape[1] < 3:
        return []
    # The sum over columns of squared steps is the usual one for rows in random order.
    shuffled = values[np.random.default_rng(seed).permutation(len(values))]
    near, usual = (np.nanmean(np.abs(np.diff(v, axis=0)), axis=0) for v in (values, shuffled))
    ratio = float(np.median(near / np.maximum(usual, 1e-12)))
    if ratio > ORDERED:
        return []
    return [
        Finding(
            "ordered-rows",
            "info",
            (),
            f"Neighbouring rows are alike (their distance is {ratio:.0%} of that of random rows), "
            "as in a time series: a random split is optimistic.",
            "Split by a time or group column: --time COLUMN or --group COLUMN",
        )
    ]


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"


def _gaps(values: NDArray[Any]) -> NDArray[np.bool_]:
    import pandas

    return np.asarray(pandas.isna(values), dtype=bool)
