"""The model beside its baselines on one set of rows: metrics, and who is better, with intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from polytask.tasks import BinaryTask, MulticlassTask, Task

from .bootstrap import Differences, paired_bootstrap
from .evaluate import TaskEvaluation, evaluate, hard
from .predictions import Outputs, constant_outputs
from .rows import Comparison, MetricRow, SetRow, Together

MIN_LABELS = 30
MIN_PER_CLASS = 10


class Judgement(NamedTuple):
    """What is known about one set of rows.

    Args:
        rows: One row per task, in the user's order.
        together: All tasks together against each baseline.
        evaluations: The model's own losses and metrics.
    """

    rows: tuple[SetRow, ...]
    together: tuple[Together, ...]
    evaluations: tuple[TaskEvaluation, ...]


def judge(
    name: str,
    model: Outputs,
    baselines: Mapping[str, Outputs],
    *,
    compare: bool = True,
    long_form: bool = False,
    seed: int = 0,
) -> Judgement:
    """Metrics and losses of the model and its baselines; paired bootstrap of the differences.

    The mean baseline, which predicts the training distribution, is always there. A difference is
    (baseline loss − model loss) / mean predictor's loss: positive means the model is better.

    Args:
        name: ``"train"``, ``"valid"`` or ``"test"``.
        model: Outputs of the model.
        baselines: Outputs of ``"linear"`` and ``"single"`` for the same rows, where they exist;
            NaN for a task without that baseline.
        compare: Whether to bootstrap; training rows are never compared.
        long_form: The tasks are rows of one column: over all tasks, every label counts the same.
        seed: Seed of the resamples.
    """
    tasks = model.tasks
    constant = constant_outputs(model, [hard(task) for task in tasks])
    evaluations = {
        "model": evaluate(model),
        "mean": evaluate(constant),
        **{key: evaluate(outputs) for key, outputs in baselines.items()},
    }
    order = [key for key in ("linear", "single", "mean") if key in evaluations]
    found: dict[str, list[Comparison | None]] = {}
    together: list[Together] = []
    for key in order if compare else ():
        found[key], all_tasks = _compare(
            key, evaluations, model.num_rows, long_form=long_form, seed=seed
        )
        if all_tasks is not None:
            weighting = "labels" if long_form else "tasks"
            together.append(Together(name, weighting, all_tasks))
    rows = tuple(
        SetRow(
            name,
            evaluations["model"][index].labels,
            evaluations["model"][index].loss,
            _metrics(task, {key: value[index] for key, value in evaluations.items()}),
            tuple(c for key in order if compare and (c := found[key][index]) is not None),
            too_few(task, model, index) if compare else "",
        )
        for index, task in enumerate(tasks)
    )
    return Judgement(rows, tuple(together), evaluations["model"])


def too_few(task: Task, outputs: Outputs, index: int) -> str:
    """Why the labels of a task are too few for a verdict, in words; empty if they are enough.

    Two classes: 10 of each; more classes: 10 for each on average and 10 outside the most frequent
    one; everything else: 30 labels.
    """
    _, target, weights, rows = outputs.of(index)
    if weights is not None:
        target = target[weights > 0]
    labels = len(rows) if weights is None else int((weights > 0).sum())
    if not isinstance(task, BinaryTask | MulticlassTask):
        return f"{labels} labels, {MIN_LABELS} needed" if labels < MIN_LABELS else ""
    classes = 2 if isinstance(task, BinaryTask) else task.outputs
    counts = torch.bincount(target.long(), minlength=classes)
    others = labels - int(counts.max()) if labels else 0
    if others < MIN_PER_CLASS:
        what = "of the rarer class" if classes == 2 else "outside the most frequent class"
        return f"{others} labels {what}, {MIN_PER_CLASS} needed"
    if labels < MIN_PER_CLASS * classes:
        return f"{labels} labels for {classes} classes, {MIN_PER_CLASS * classes} needed"
    return ""


def _metrics(task: Task, found: Mapping[str, TaskEvaluation]) -> tuple[MetricRow, ...]:
    def value(key: str, metric: str | None) -> float | None:
        if key not in found:
            return None
        return found[key].loss if metric is None else found[key].metrics[metric]

    named = [(m.name, m.higher_is_better, m.unit, m.name) for m in task.metrics().values()]
    return tuple(
        MetricRow(
            name, higher, unit, *(value(k, key) for k in ("model", "mean", "linear", "single"))
        )
        for name, higher, unit, key in [*named, ("loss", False, "", None)]
    )


def _compare(
    key: str,
    evaluations: Mapping[str, Sequence[TaskEvaluation]],
    num_rows: int,
    *,
    long_form: bool,
    seed: int,
) -> tuple[list[Comparison | None], Comparison | None]:
    cells, units, known = [], [], []
    triples = zip(evaluations["model"], evaluations[key], evaluations["mean"], strict=True)
    for model, baseline, mean in triples:
        measured = model.loss is not None and baseline.loss is not None
        kept = slice(None) if measured else slice(0)
        cells.append(
            Differences(
                model.rows[kept], (baseline.losses - model.losses)[kept], model.weights[kept]
            )
        )
        # A mean predictor without loss has nothing to be measured in: absolute difference.
        units.append(mean.loss or 1.0)
        known.append(measured)
    if not any(known):
        return [None] * len(known), None
    intervals = paired_bootstrap(cells, units, num_rows, pool_labels=long_form, seed=seed)
    bounds = np.stack([intervals.mean, intervals.low, intervals.high], axis=1).tolist()
    each = [
        Comparison(key, *row) if measured else None
        for row, measured in zip(bounds, known, strict=True)
    ]
    return each, Comparison(key, *intervals.together)
