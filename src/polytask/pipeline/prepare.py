"""From a table and a run configuration to encoded rows: everything that happens before training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from polytask.config.build import target_spec
from polytask.config.checks import check_run
from polytask.config.conditions import HELD_OUT
from polytask.config.run import RunConfig
from polytask.data import (
    Batch,
    FeatureEncoder,
    Finding,
    Form,
    LongForm,
    Split,
    TableSchema,
    WideForm,
    as_frame,
    encode_targets,
    find_problems,
    fit_tasks,
    infer_schema,
    label_values,
    read_weights,
    split_table,
)
from polytask.errors import DataError, InvalidArgument
from polytask.tasks import Task, TaskGroup, TaskSpec, group_tasks, infer_kind

from .columns import ColumnUses, assign_columns

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Prepared:
    """A table that is ready for training.

    Args:
        frames: Part (``train``, ``valid``, ``test``) → its rows, parts without rows left out.
        tables: The same, encoded.
        form: Where labels and predictions stand.
        tasks: Fitted tasks in the user's order.
        groups: The same, grouped.
        encoder: Of the input columns.
        schema: Every column as it was understood.
        uses: What every column is used for.
        split: Rows of the parts in the first table.
        findings: What is worth knowing about the table.
        kinds: Task or target → why its kind was chosen, in words.
        aside: Training rows that only a balancing method measures its losses on, or None.
        balancing: The same, encoded.
    """

    frames: Mapping[str, "DataFrame"]
    tables: Mapping[str, Batch]
    form: Form
    tasks: tuple[Task, ...]
    groups: tuple[TaskGroup, ...]
    encoder: FeatureEncoder
    schema: TableSchema
    uses: ColumnUses
    split: Split
    findings: tuple[Finding, ...]
    kinds: Mapping[str, str]
    aside: "DataFrame | None" = None
    balancing: Batch | None = None


def prepare(
    frame: "DataFrame",
    run: RunConfig,
    *,
    valid: "DataFrame | None" = None,
    test: "DataFrame | None" = None,
    split: Split | None = None,
) -> Prepared:
    """Understands, splits and encodes a table; whatever is learned is learned on training rows.

    Args:
        frame: The table.
        run: What the user said.
        valid: Validation rows from elsewhere; then `frame` is not split for validation.
        test: Test rows from elsewhere.
        split: Rows of train, valid and test, decided by the caller.

    Raises:
        PolytaskError: One sentence that names the column, target or option.
    """
    frame = as_frame(frame)
    valid = None if valid is None else as_frame(valid, source="The validation table")
    test = None if test is None else as_frame(test, source="The test table")
    check_run(run, valid_file=valid is not None)
    uses = assign_columns(list(frame.columns), run)
    schema = infer_schema(frame, dict(run.data.kinds))
    specs, kinds = _specs(frame, run, schema)
    form = _form(frame, run, specs)
    if split is None:
        split = split_table(
            frame,
            form,
            valid=0.0 if valid is not None else run.split.valid,
            test=0.0 if test is not None else run.split.test,
            stratify=run.split.stratify,
            group=run.data.group,
            time=run.data.time,
            column=run.data.split,
            seed=run.seed,
        )
    aside = None
    if run.balance.name in HELD_OUT:
        split, aside = _set_aside(frame, split, form, run)
    rows = {"train": split.train, "valid": split.valid, "test": split.test}
    frames = {part: frame.iloc[taken] for part, taken in rows.items() if len(taken)}
    frames |= {part: own for part, own in (("valid", valid), ("test", test)) if own is not None}
    inputs = schema.inputs(uses.of("input"))
    needed = [column.name for column in inputs]
    needed += [*uses.of("target"), *uses.of("task"), *uses.of("weight")]
    _check_columns(needed, valid, "validation")
    _check_columns(needed, test, "test")
    weights = read_weights(frames["train"][run.data.weight]) if run.data.weight else None
    form, tasks = fit_tasks(form, frames["train"], weights)
    separate = tuple(k.removeprefix("task:") for k in run.optimizer.rates if k.startswith("task:"))
    groups = group_tasks(tasks, separate=separate)
    encoder = FeatureEncoder.fit(
        frames["train"],
        inputs,
        scaling=run.data.numeric_scaling,
        one_hot_up_to=run.data.one_hot_up_to,
    )
    findings = find_problems(
        frames,
        schema=schema,
        form=form,
        tasks=tasks,
        inputs=[column.name for column in inputs],
        seed=run.seed,
        method=split.method,
    )

    def encoded(own: "DataFrame") -> Batch:
        own_weights = read_weights(own[run.data.weight]) if run.data.weight else None
        return Batch(
            encoder.transform(own),
            *encode_targets(own, form, groups),
            None if own_weights is None else torch.from_numpy(own_weights),
            torch.arange(len(own)),
        )

    return Prepared(
        frames,
        {part: encoded(own) for part, own in frames.items()},
        form,
        tasks,
        groups,
        encoder,
        schema,
        uses,
        split,
        tuple(findings),
        kinds,
        aside,
        None if aside is None else encoded(aside),
    )


def _set_aside(
    frame: "DataFrame", split: Split, form: Form, run: RunConfig
) -> tuple[Split, "DataFrame"]:
    """The split without the training rows that a balancing method measures on, and those rows."""
    again = split_table(
        frame.iloc[split.train],
        form,
        valid=run.balance.held_out,
        stratify=run.split.stratify,
        group=run.data.group,
        time=run.data.time,
        seed=run.seed,
    )
    rows = split.train[again.valid]
    return replace(split, train=split.train[again.train]), frame.iloc[rows]


def _check_columns(needed: Sequence[str], frame: "DataFrame | None", what: str) -> None:
    """Raises `DataError` if rows from elsewhere lack a column that training uses."""
    missing = [] if frame is None else [name for name in needed if name not in frame.columns]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"The {what} table lacks the column {missing[0]!r}{more}, which training uses; add "
            "it, with empty cells where the values are unknown."
        )


def _specs(
    frame: "DataFrame", run: RunConfig, schema: TableSchema
) -> tuple[list[TaskSpec], dict[str, str]]:
    """One specification per target, kinds inferred where the user named none."""
    specs, reasons = [], {}
    for target in run.targets:
        kind, reason = target.kind, "set by you"
        if kind == "auto":
            if len(target.columns) > 1:
                kind, reason = "multilabel", f"{target.name!r} is a group of columns: multilabel."
            else:
                column = target.columns[0] if target.columns else target.name
                values = label_values(frame[column])
                declared = schema[column].kind == "category" and column in run.data.kinds
                found, reason = infer_kind(values, name=target.name, category=declared)
                kind = found  # type: ignore[assignment]
        specs.append(target_spec(target, kind))
        reasons[target.name] = reason
    return specs, reasons


def _form(frame: "DataFrame", run: RunConfig, specs: Sequence[TaskSpec]) -> Form:
    if run.data.task_column is None:
        return WideForm(tuple(specs), run.data.id)
    if len(specs) != 1:
        raise InvalidArgument(
            f"`targets` must name one label column when `data.task_column` is given; got "
            f"{len(specs)}. Each row of a long table has one label, that of its own task."
        )
    return LongForm.create(frame, run.data.task_column, specs[0], ids=run.data.id)
