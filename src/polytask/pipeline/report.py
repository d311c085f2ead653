"""What a finished fit tells: outputs of the kept weights, baselines, columns, settings."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from polytask._version import __version__
from polytask.backbones.table_input import embedding_width
from polytask.config.effective import run_document
from polytask.config.run import RunConfig
from polytask.data import Batch, FeatureEncoder, LongForm
from polytask.diagnostics import (
    ColumnRow,
    LinearBaseline,
    Outputs,
    RunReport,
    Structure,
    build_report,
    collect,
    describe_data,
    linear_baseline,
    measure_structure,
    measure_trunk_gradients,
)
from polytask.diagnostics.permutation import PermutationTest
from polytask.optim import ParameterInfo, describe_groups
from polytask.regularization.objective import PenaltySummary, Zeros
from polytask.sharing import AdaptedModel, MultiTaskModel, infer_roles
from polytask.training import History

from .prepare import Prepared
from .techniques import decay_techniques, run_techniques

SHOWN = 4
"""Parameters of a penalty that are named."""
TRAIN_ROWS = 20_000
"""Training rows on which the training side of the report is evaluated."""


def make_report(
    prepared: Prepared,
    run: RunConfig,
    model: MultiTaskModel | AdaptedModel,
    history: History,
    *,
    seconds: float,
    baselines: bool,
    title: str = "polytask run",
    single: Mapping[str, Mapping[str, Tensor]] | None = None,
    predictor: nn.Module | None = None,
    optimizer: Optimizer | None = None,
    techniques: Sequence[tuple[str, str]] = (),
    penalties: Sequence[PenaltySummary] = (),
    zeros: Mapping[str, Zeros] | None = None,
    temperatures: Mapping[str, float] | None = None,
    spreads: Mapping[str, NDArray[np.float64]] | None = None,
    spread_source: str = "",
    kept_epochs: Sequence[int] | None = None,
    permutation: Sequence[PermutationTest] = (),
    earlier: RunReport | None = None,
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
        predictor: Predicts in the place of `model`, where every task has weights of its own.
        optimizer: The optimizer of the run: decay, half-lives, and what is not decayed.
        techniques: (name, strength in words) of what describes itself; a name that the run file
            gives too is said in these words.
        penalties: `BoundPenalties.describe` of the run.
        zeros: `BoundPenalties.zeros` of the kept weights.
        temperatures: Task → number that the logits were divided by after training.
        spreads: Task → spread of the predictions on the judged rows (all of the test rows, else
            of the validation rows), in the target's unit.
        spread_source: Where the spreads come from, in words.
        kept_epochs: Per task the epoch whose weights predict it, where every task has its own.
        permutation: `permutation_test` of the tasks, where it was asked for.
        earlier: A report of the same weights: what it says of table, weights and techniques is
            taken over instead of being measured again.
    """
    device = next(model.parameters()).device
    infos = _infos(model, prepared, device)
    tables = {part: _thinned(table) for part, table in prepared.tables.items()}
    sets = {
        part: collect(predictor or model, table, prepared.groups, device=device)
        for part, table in tables.items()
    }
    long_form = isinstance(prepared.form, LongForm)
    judged_on = next(part for part in ("test", "valid", "train") if part in tables)
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
    report = build_report(
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
        switched_on=earlier.switched_on
        if earlier
        else _switched_on(prepared, run, infos, optimizer, techniques, penalties),
        environment=_environment(run, device, seconds),
        labels={part: _labels(table, prepared) for part, table in prepared.tables.items()},
        notes={
            task.name: prepared.kinds[task.name]
            for task in prepared.tasks
            if task.name in prepared.kinds
        },
        long_form=long_form,
        seed=run.seed,
        data_card=earlier.data_card
        if earlier
        else describe_data(
            prepared.tables,
            prepared.groups,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
        ),
        structure=earlier.structure
        if earlier
        else _structure(prepared, infos, optimizer, penalties, zeros),
        trunk_gradients=earlier.trunk_gradients
        if earlier
        else measure_trunk_gradients(model, tables["train"], prepared.groups, infos, device=device),
        temperatures=temperatures,
        spreads={
            name: spread[:: _stride(prepared.tables[judged_on])]
            for name, spread in (spreads or {}).items()
        },
        spread_source=spread_source,
        kept_epochs=kept_epochs,
        permutation=permutation or (earlier.permutation if earlier else ()),
    )
    if earlier is None:
        return report
    return replace(report, calibration=earlier.calibration, uncertainty=earlier.uncertainty)


def _infos(
    model: MultiTaskModel | AdaptedModel, prepared: Prepared, device: torch.device
) -> list[ParameterInfo]:
    if isinstance(model, MultiTaskModel):
        return model.roles()
    from polytask.data.batches import transform

    few = transform(prepared.tables["train"], lambda tensor: tensor[:8].to(device))
    return infer_roles(model, prepared.groups, few)


def _switched_on(
    prepared: Prepared,
    run: RunConfig,
    infos: Sequence[ParameterInfo],
    optimizer: Optimizer | None,
    techniques: Sequence[tuple[str, str]],
    penalties: Sequence[PenaltySummary],
) -> list[tuple[str, str]]:
    """What the run file says, what describes itself, and what is not decayed; names once."""
    rows = dict(run_techniques(prepared, run))
    if optimizer is not None:
        rows |= dict(decay_techniques(optimizer, infos))
    own: dict[str, list[str]] = {}
    for name, words in [*((p.name, _acts(p)) for p in penalties), *techniques]:
        own.setdefault(name, []).append(words)
    return list((rows | {name: "; ".join(words) for name, words in own.items()}).items())


def _acts(penalty: PenaltySummary) -> str:
    how = "proximal step after every update" if penalty.acts == "prox" else "added to the objective"
    where = ", ".join(penalty.parameters[:SHOWN])
    more = len(penalty.parameters) - SHOWN
    return f"{penalty.words}; {how}; on {where}{f' and {more} more' if more > 0 else ''}"


def _structure(
    prepared: Prepared,
    infos: Sequence[ParameterInfo],
    optimizer: Optimizer | None,
    penalties: Sequence[PenaltySummary],
    zeros: Mapping[str, Zeros] | None,
) -> Structure:
    return measure_structure(
        infos,
        tasks=[task.name for task in prepared.tasks],
        decay=() if optimizer is None else describe_groups(optimizer, infos),
        penalties=penalties,
        zeros=zeros,
        features=_inputs(prepared.encoder),
    )


def _inputs(encoder: FeatureEncoder) -> list[str]:
    """Names of the columns of the first layer: numeric inputs, then the vectors of categories."""
    width = embedding_width(encoder.cardinalities) if encoder.cardinalities else 0
    vectors = [f"{name} [{i}]" for name in encoder.category_names for i in range(1, width + 1)]
    return [*encoder.feature_names, *vectors]


def _thinned(table: Batch) -> Batch:
    """At most `TRAIN_ROWS` evenly spaced rows."""
    from polytask.data.batches import transform

    stride = _stride(table)
    if stride <= 1:
        return table
    return transform(table, lambda tensor: tensor[::stride].contiguous())


def _stride(table: Batch) -> int:
    return -(-len(table.rows) // TRAIN_ROWS)


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
