"""Assembles a `RunReport` from its pieces."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polytask._checks import require
from polytask.data.finding import Finding
from polytask.tasks.base import Task

from .advice import Advice, advise
from .baselines import LinearBaseline
from .calibration import calibrate
from .data_card import DataCard
from .evaluate import evaluate, gaps
from .gap import Gap, bootstrap_gaps, final_gaps
from .headline import write_headline
from .imbalance import Imbalance
from .interplay import describe_interplay
from .judge import Judgement, judge
from .permutation import PermutationTest
from .predictions import Outputs
from .regret import regret_matrix
from .residuals import measure_residuals
from .rows import ColumnRow, TaskRow
from .run_report import SCHEMA_VERSION, RunReport
from .structure import Structure
from .trunk_gradients import TrunkGradients
from .uncertainty import spread_against_error
from .verdict import Verdict, verdicts


def build_report(
    *,
    title: str,
    sets: Mapping[str, Outputs],
    history: Mapping[str, Any],
    baselines: Mapping[str, Mapping[str, Outputs]] | None = None,
    linear: LinearBaseline | None = None,
    columns: Sequence[ColumnRow] = (),
    findings: Sequence[Finding] = (),
    split: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    switched_on: Sequence[tuple[str, str]] = (),
    environment: Mapping[str, str] | None = None,
    labels: Mapping[str, Sequence[int]] | None = None,
    notes: Mapping[str, str] | None = None,
    long_form: bool = False,
    seed: int = 0,
    created: str | None = None,
    data_card: DataCard | None = None,
    structure: Structure | None = None,
    trunk_gradients: TrunkGradients | None = None,
    last: Mapping[str, Outputs] | None = None,
    temperatures: Mapping[str, float] | None = None,
    spreads: Mapping[str, NDArray[np.float64]] | None = None,
    spread_source: str = "",
    kept_epochs: Sequence[int] | None = None,
    permutation: Sequence[PermutationTest] = (),
) -> RunReport:
    """Evaluates, compares, writes the headline, and puts everything in one value.

    Args:
        title: Such as the name of the table.
        sets: Outputs of the kept weights on ``"train"``, ``"valid"`` and ``"test"`` rows, as far
            as there are any. Verdicts are about test rows if given, else validation rows.
        history: `History.to_json()`.
        baselines: ``"linear"`` and ``"single"`` → set → outputs for the same rows. The mean
            baseline needs no outputs.
        linear: Says in words which linear model each task has.
        columns: The table as it was understood.
        findings: What was found in it.
        split: Method, sizes, and what it promises.
        settings: The effective run configuration as JSON values.
        switched_on: What was on, and how strongly.
        environment: Versions, device, threads, seed, seconds.
        labels: Set → labels per task, where `sets` holds only some of the rows.
        notes: Task → a remark.
        long_form: The tasks are rows of one column.
        seed: Seed of the bootstrap.
        created: Date and time; None: now.
        data_card: `describe_data` of the tables.
        structure: `measure_structure` of the kept weights.
        trunk_gradients: `measure_trunk_gradients` of the kept weights.
        last: ``"train"`` and ``"valid"`` → outputs of the last epoch's weights on the rows of
            `sets`; without them the gap at the end has no interval.
        temperatures: Task → number that the logits were divided by after training.
        spreads: Task → spread of the predictions on the judged rows, in the target's unit.
        spread_source: Where the spreads come from, in words.
        kept_epochs: Per task the epoch whose weights predict it, where every task has its own.
        permutation: `permutation_test` of the tasks, where it was asked for.
    """
    require(bool(sets), "sets", "hold at least one set of rows", dict(sets))
    history, baselines = dict(history), baselines or {}
    judged = {
        name: judge(
            name,
            outputs,
            {key: found[name] for key, found in baselines.items() if name in found},
            compare=name != "train",
            long_form=long_form,
            seed=seed,
        )
        for name, outputs in sets.items()
    }
    tasks = next(iter(sets.values())).tasks
    rows = _task_rows(tasks, judged, history, labels or {}, notes or {}, linear)
    judged_on = next(name for name in ("test", "valid", "train") if name in sets)
    together = tuple(row for judgement in judged.values() for row in judgement.together)
    headline = write_headline(
        rows, together, judged_on, sets[judged_on].num_rows, history, findings
    )
    found = verdicts(history, sets, baselines=baselines, kept_epochs=kept_epochs)
    interplay = describe_interplay(
        history,
        balance=_balance(settings or {}),
        weakened=_weakened(settings or {}),
        once=trunk_gradients,
    )
    imbalances = () if interplay is None else interplay.findings
    return RunReport(
        schema_version=SCHEMA_VERSION,
        title=title,
        created=created or datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        headline=headline,
        tasks=rows,
        columns=tuple(columns),
        findings=tuple(findings),
        history=history,
        split=dict(split or {}),
        settings=dict(settings or {}),
        switched_on=tuple(switched_on),
        environment=dict(environment or {}),
        judged_on=judged_on,
        together=together,
        verdicts=found,
        advice=_advice(found, rows, settings or {}, findings, imbalances, judged_on, data_card),
        permutation=tuple(permutation),
        data_card=data_card,
        gaps=_gaps([task.name for task in tasks], judged, history, last, seed),
        regret=regret_matrix(history),
        structure=structure,
        trunk_gradients=trunk_gradients,
        interplay=interplay,
        calibration=calibrate(
            sets[judged_on], rows=judged_on, temperatures=temperatures, seed=seed
        ),
        residuals=measure_residuals(sets[judged_on], rows=judged_on),
        uncertainty=spread_against_error(
            sets[judged_on], spreads or {}, rows=judged_on, source=spread_source, seed=seed
        ),
    )


def _balance(settings: Mapping[str, Any]) -> str:
    """Name of the balancing, empty where the settings do not tell."""
    section = settings.get("balance")
    return str(section.get("name", "")) if isinstance(section, Mapping) else ""


def _weakened(settings: Mapping[str, Any]) -> bool:
    """Whether weights are reused or smoothed, or found on gradients of another size."""
    section = settings.get("balance")
    if not isinstance(section, Mapping):
        return False
    options = section.get("options", {})
    reused = section.get("every", 1) > 1 or section.get("smoothing", 0.0) > 0.0
    return bool(reused or options.get("normalization", "none") != "none")


def _advice(
    found: Sequence[Verdict],
    tasks: Sequence[TaskRow],
    settings: Mapping[str, Any],
    findings: Sequence[Finding],
    imbalances: Sequence[Imbalance],
    judged_on: str,
    card: DataCard | None,
) -> tuple[Advice, ...]:
    judged = {task.name: row for task in tasks if (row := task.on(judged_on)) is not None}
    return advise(
        found,
        settings=settings,
        findings=findings,
        imbalances=imbalances,
        labels=[task.labels_train for task in tasks],
        rows=None if card is None else card.rows["train"],
        against_single={name: row.verdict("single") for name, row in judged.items()},
    )


def _gaps(
    names: Sequence[str],
    judged: Mapping[str, Judgement],
    history: Mapping[str, Any],
    last: Mapping[str, Outputs] | None,
    seed: int,
) -> tuple[Gap, ...]:
    if "train" not in judged or "valid" not in judged:
        return ()
    kept = bootstrap_gaps(
        names, judged["train"].evaluations, judged["valid"].evaluations, seed=seed
    )
    if last is None:
        return (*kept, *final_gaps(history))
    ends = {part: evaluate(outputs) for part, outputs in last.items()}
    return (*kept, *bootstrap_gaps(names, ends["train"], ends["valid"], when="end", seed=seed))


def _task_rows(
    tasks: Sequence[Task],
    judged: Mapping[str, Judgement],
    history: Mapping[str, Any],
    labels: Mapping[str, Sequence[int]],
    notes: Mapping[str, str],
    linear: LinearBaseline | None,
) -> tuple[TaskRow, ...]:
    gap: Sequence[float | None] = [None] * len(tasks)
    if "train" in judged and "valid" in judged:
        gap = gaps(judged["train"].evaluations, judged["valid"].evaluations)
    best = history.get("best_epochs") or [0] * len(tasks)

    def count(name: str, index: int) -> int:
        if name in labels:
            return labels[name][index]
        return judged[name].rows[index].labels if name in judged else 0

    def model(name: str) -> str:
        if linear is None:
            return ""
        return linear.words.get(name) or f"none: {linear.missing.get(name, 'not fitted')}"

    return tuple(
        TaskRow(
            name=task.name,
            kind=task.spec.kind,
            description=task.describe(),
            labels_train=count("train", index),
            labels_valid=count("valid", index),
            labels_test=count("test", index),
            best_epoch=best[index],
            gap=gap[index],
            sets=tuple(judgement.rows[index] for judgement in judged.values()),
            note=notes.get(task.name, ""),
            linear=model(task.name),
        )
        for index, task in enumerate(tasks)
    )
