"""What a finished fit tells: outputs of the kept weights, baselines, columns, settings."""

import platform
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from polytask._version import __version__
from polytask.config.effective import run_document
from polytask.config.run import RunConfig
from polytask.data import Batch, LongForm
from polytask.diagnostics import (
    ColumnRow,
    LinearBaseline,
    Outputs,
    RunReport,
    build_report,
    collect,
    linear_baseline,
)
from polytask.training import History

from .prepare import Prepared

TRAIN_ROWS = 20_000
"""Training rows on which the training side of the report is evaluated."""


def make_report(
    prepared: Prepared,
    run: RunConfig,
    model: nn.Module,
    history: History,
    *,
    seconds: float,
    baselines: bool,
    title: str = "polytask run",
    single: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> RunReport:
    """The report of a run whose model holds the kept weights.

    Args:
        prepared: The table.
        run: Its settings.
        model: The trained model.
        history: What happened.
        seconds: Wall-clock time of the fit.
        baselines: Whether to fit linear baselines.
        title: First line.
        single: Part → task → raw outputs ``[rows, outputs]`` of one network per task.
    """
    device = next(model.parameters()).device
    tables = {part: _thinned(table) for part, table in prepared.tables.items()}
    sets = {
        part: collect(model, table, prepared.groups, device=device)
        for part, table in tables.items()
    }
    long_form = isinstance(prepared.form, LongForm)
    others: dict[str, Mapping[str, Outputs]] = {}
    if single is not None:
        others["single"] = {
            part: outputs.with_outputs(_stacked(single[part], tables[part], prepared))
            for part, outputs in sets.items()
        }
    linear: LinearBaseline | None = None
    if baselines:
        linear = linear_baseline(
            prepared.tables["train"], prepared.groups, long_form=long_form, seed=run.seed
        )
        others["linear"] = {
            part: linear.outputs(tables[part], outputs) for part, outputs in sets.items()
        }
    return build_report(
        title=title,
        sets=sets,
        history=history.to_json(),
        baselines=others,
        linear=linear,
        columns=_columns(prepared),
        findings=prepared.findings,
        split={
            "method": prepared.split.method,
            "promise": prepared.split.promise,
            "rows": {part: len(table.rows) for part, table in prepared.tables.items()},
        },
        settings=run_document(run),
        switched_on=switched_on(prepared, run),
        environment=_environment(run, device, seconds),
        labels={part: _labels(table, prepared) for part, table in prepared.tables.items()},
        notes={
            task.name: prepared.kinds[task.name]
            for task in prepared.tasks
            if task.name in prepared.kinds
        },
        long_form=long_form,
        seed=run.seed,
    )


def _thinned(table: Batch) -> Batch:
    """At most `TRAIN_ROWS` evenly spaced rows."""
    from polytask.data.batches import transform

    stride = -(-len(table.rows) // TRAIN_ROWS)
    if stride <= 1:
        return table
    return transform(table, lambda tensor: tensor[::stride].contiguous())


def _stacked(outputs: Mapping[str, Tensor], table: Batch, prepared: Prepared) -> dict[str, Tensor]:
    """Outputs by task as outputs by group, for the rows of `table`."""
    return {
        group.name: torch.stack([outputs[task.name][table.rows] for task in group.tasks], dim=1)
        for group in prepared.groups
    }


def _labels(table: Batch, prepared: Prepared) -> list[int]:
    """Labelled rows per task, in the user's order."""
    counts = [0] * len(prepared.tasks)
    for group in prepared.groups:
        found = table.masks[group.name].sum(0).tolist()
        for index, count in zip(group.indices, found, strict=True):
            counts[index] = int(count)
    return counts


def _columns(prepared: Prepared) -> list[ColumnRow]:
    encoded = {column.name for column in prepared.encoder.columns}
    rows = []
    for column in prepared.schema.columns:
        use = prepared.uses.uses[column.name]
        encoding = ""
        if use == "input":
            if column.name in encoded:
                encoding = prepared.encoder.describe(column.name)
            else:
                use = "ignored"
        rows.append(
            ColumnRow(
                column.name,
                str(column.kind),
                use,
                column.missing,
                column.unique,
                encoding,
                column.reason,
            )
        )
    return rows


def switched_on(prepared: Prepared, run: RunConfig) -> list[tuple[str, str]]:
    """Every technique that was on, with its strength in words."""
    model, optimizer, training = run.model, run.optimizer, run.training
    on = [
        ("sharing", f"hard: one trunk ({model.backbone}, {model.depth} × {model.width}), "
                    f"{len(prepared.tasks)} heads in {len(prepared.groups)} stacked products"),
        ("balancing", _balancing(run)),
        ("optimizer", f"{optimizer.name}, learning rate {optimizer.learning_rate:g}, "
                      f"schedule {run.schedule.name}"
                      + (f" with warm-up {run.schedule.warmup:g}" if run.schedule.warmup else "")),
    ]  # fmt: skip
    if run.data.numeric_scaling == "robust":
        on.append(("robust scaling, smooth clip", "inputs: median and quartiles of training rows"))
    if model.dropout:
        on.append(("dropout", f"{model.dropout:g} after every hidden activation"))
    if optimizer.weight_decay:
        per_step = optimizer.learning_rate * optimizer.weight_decay
        words = (
            f"{optimizer.weight_decay:g} decoupled (learning rate × decay = {per_step:g} per step)"
            if optimizer.name == "adamw"
            else f"{optimizer.weight_decay:g} coupled (added to the gradient)"
        )
        on.append(("weight decay", f"{words}; never on biases, norms and missing-embeddings"))
    if optimizer.clip_norm:
        on.append(("gradient clipping", f"global norm at most {optimizer.clip_norm:g}"))
    for target in run.targets:
        if target.label_smoothing:
            on.append((f"label smoothing of {target.name}", f"{target.label_smoothing:g}"))
        if target.class_weight != "none":
            on.append((f"class weights of {target.name}", target.class_weight))
    if training.stopping != "none" and "valid" in prepared.tables:
        words = f"{training.stopping}, patience {training.patience} epochs, best weights restored"
        on.append(("early stopping", words))
    return on


def _balancing(run: RunConfig) -> str:
    balance = run.balance
    weights = ", ".join(f"{name} {weight:g}" for name, weight in balance.weights.items())
    return f"{balance.name}{f' ({weights}; others 1)' if weights else ''}"


def _environment(run: RunConfig, device: torch.device, seconds: float) -> dict[str, str]:
    import pandas

    return {
        "polytask": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pandas": pandas.__version__,
        "device": str(device),
        "threads": str(torch.get_num_threads()),
        "seed": str(run.seed),
        "seconds": f"{seconds:.1f}",
    }
