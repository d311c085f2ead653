"""The preset "linear": a linear model for all tasks, its penalty chosen by cross-validation."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from polytask._checks import one_of, require
from polytask.backbones.identity import Identity
from polytask.config.run import RunConfig
from polytask.data.batch import Batch, Inputs
from polytask.data.forms import LongForm
from polytask.diagnostics.headline import SOLVED
from polytask.errors import PolytaskWarning
from polytask.regularization.convex import (
    L21,
    ConvexPenalty,
    MeanRegularised,
    NuclearNorm,
    Ridge,
    SelectedFeature,
    selected_features,
)
from polytask.regularization.convex.family_choice import Candidate, choose
from polytask.regularization.convex.path import Progress
from polytask.regularization.convex.problem import Array
from polytask.regularization.convex.selection import Rule
from polytask.sharing import HardSharing, MultiTaskModel
from polytask.tasks import TaskGroup
from polytask.training.history import EpochRecord, History
from polytask.training.measure import finite, means, measure, measure_baseline, user_order

from .linear_labels import LinearLabels, linear_labels
from .prepare import Prepared

PENALTIES = ("auto", "ridge", "mean-regularised", "l21", "nuclear")
MAX_CELLS = 50_000_000
"""Rows × columns of the matrix; more rows are sampled."""
SHRINK_ALL = 0.01
"""Share of λ that shrinks the weights themselves under the mean-regularised penalty."""


@final
@dataclass(frozen=True)
class LinearFit:
    """A fitted linear model and how it was chosen.

    Args:
        model: Its heads hold the weights.
        chosen: Name of the chosen penalty.
        strengths: The chosen λ; for ridge one per task may occur.
        candidates: All forms with their cross-validated scores.
        weights: W on the columns of `Identity`, ``[columns, raw outputs]``.
        tasks: Task of every raw output.
        seconds: Wall-clock time.
    """

    model: MultiTaskModel
    chosen: str
    strengths: tuple[float, ...]
    candidates: tuple[Candidate, ...]
    weights: Array
    tasks: tuple[str, ...]
    seconds: float

    def features(self, names: Sequence[str]) -> tuple[SelectedFeature, ...]:
        """Which columns are used by which tasks, most used first.

        Args:
            names: Of the columns of `Identity`: numeric ones, then the levels of each category.
        """
        return selected_features(self.weights, names, self.tasks)


def fit_linear(
    train: Batch,
    groups: Sequence[TaskGroup],
    *,
    cardinalities: Sequence[int] = (),
    penalty: str = "auto",
    long_form: bool = False,
    folds: int = 5,
    rule: Rule = "best",
    count: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> LinearFit:
    """Fits a linear model for all tasks: regression, classes, labels and counts together.

    Per-task ridge, mean-regularised, L2,1 (joint choice of features) and nuclear (shared
    directions) penalties are compared by cross-validation; a form replaces a simpler one if it is
    better by more than one standard error of their differences over the folds. Inputs are
    standardised inside every fold and the scaling is folded back into weights and biases.

    Args:
        train: All training rows, encoded; labels may have gaps.
        groups: The task groups.
        cardinalities: Codes of each category column.
        penalty: ``"auto"``, or one of ``"ridge"``, ``"mean-regularised"``, ``"l21"``,
            ``"nuclear"``.
        long_form: Each row belongs to one task: then all labels count the same, and ridge has one
            strength for all tasks.
        folds: Number of folds, at least 2.
        rule: How λ is chosen within a form: ``"best"`` or ``"one-standard-error"``.
        count: λ per form.
        seed: Of folds and samples.
        progress: Called after every λ of every form.

    Raises:
        Unsupported: For a kind of task without a linear model.

    Warns:
        PolytaskWarning: If the final fit did not reach its tolerance.

    Example:
        >>> from polytask.tasks import Regression, group_tasks
        >>> random = np.random.default_rng(0)
        >>> x = torch.from_numpy(random.normal(size=(60, 3))).float()
        >>> groups = group_tasks([Regression("y").fit((x[:, 0] * 2 + 1).numpy())])
        >>> y, mask = groups[0].tasks[0].encode((x[:, 0] * 2 + 1).numpy())
        >>> table = Batch({"numeric": x}, {"y": y[:, None]}, {"y": mask[:, None]}, None, x[:, 0])
        >>> fit = fit_linear(table, groups)
        >>> found = fit.model(table.inputs).outputs["y"][:, 0, 0].detach()
        >>> float((found - y).abs().max()) < 0.01
        True
    """
    begun = time.monotonic()
    one_of("penalty", penalty, PENALTIES)
    groups = tuple(groups)
    backbone = _backbone(train.inputs, cardinalities)
    rows = _rows(len(train.rows), backbone.width, seed)
    part = _take(train, rows)
    inputs = backbone(part.inputs).double().numpy()
    labels = linear_labels(inputs, part, groups, pooled=long_form)
    found = choose(
        labels.problem,
        _penalties(penalty, labels),
        folds=min(folds, len(inputs)),
        seed=seed,
        rule=rule,
        count=count,
        separate_strengths=not long_form,
        alone=np.arange(backbone.width) >= backbone.numeric,
        progress=progress,
    )
    if not found.converged:
        warnings.warn(
            f"The linear model ({found.chosen}) stopped with a residual of "
            f"{found.solution.residual:.2g}; its weights are not the exact optimum.",
            PolytaskWarning,
            stacklevel=2,
        )
    model = _model(backbone, groups)
    _write(model, found.solution.weights, found.solution.biases)
    tasks = tuple(t.name for g in groups for t in g.tasks for _ in range(t.outputs))
    best = next(candidate for candidate in found.candidates if candidate.name == found.chosen)
    return LinearFit(
        model,
        found.chosen,
        best.strengths,
        found.candidates,
        found.solution.weights,
        tasks,
        time.monotonic() - begun,
    )


def fit_linear_table(
    prepared: Prepared,
    run: RunConfig,
    *,
    penalty: str = "auto",
    progress: Progress | None = None,
) -> tuple[LinearFit, History]:
    """The linear model of a prepared table, with a history of one epoch for the report.

    Args:
        prepared: The table; only its training rows are fitted on.
        run: Its settings; the seed is taken from here.
        penalty: As in `fit_linear`.
        progress: Called after every λ of every form.
    """
    fit = fit_linear(
        prepared.tables["train"],
        prepared.groups,
        cardinalities=prepared.encoder.cardinalities,
        penalty=penalty,
        long_form=isinstance(prepared.form, LongForm),
        seed=run.seed,
        progress=progress,
    )
    order = user_order(prepared.groups)
    tasks = [task.name for task in prepared.tasks]
    nothing: list[float | None] = [None] * len(tasks)
    measured = {
        part: finite(means(measure(fit.model, [table], prepared.groups), order))
        for part, table in prepared.tables.items()
    }
    baseline = nothing
    if "valid" in prepared.tables:
        losses = measure_baseline([prepared.tables["valid"]], prepared.groups)
        baseline = finite(means(losses, order))
    epoch = EpochRecord(
        epoch=1,
        steps=1,
        running=measured["train"],
        train=measured["train"],
        valid=measured.get("valid", nothing),
        weights=[task.spec.weight for task in prepared.tasks],
        learning_rate=0.0,
        seconds=fit.seconds,
    )
    history = History(tasks, [epoch], 1, [1] * len(tasks), baseline, SOLVED)
    return fit, history


def _penalties(penalty: str, labels: LinearLabels) -> list[ConvexPenalty]:
    known: dict[str, ConvexPenalty] = {
        "ridge": Ridge(0.0),
        "mean-regularised": MeanRegularised(0.0, SHRINK_ALL, labels.related),
        "l21": L21(0.0),
        "nuclear": NuclearNorm(0.0),
    }
    if penalty != "auto":
        return [known[penalty]]
    several = labels.problem.outputs > 1
    left_out = {"nuclear"} if not several else set()
    if not labels.equal_tasks:
        left_out.add("mean-regularised")
    return [own for name, own in known.items() if name not in left_out]


def _backbone(inputs: Inputs, cardinalities: Sequence[int]) -> Identity:
    if isinstance(inputs, Tensor):
        return Identity(inputs.shape[1])
    numeric = inputs["numeric"].shape[1] if "numeric" in inputs else 0
    columns = inputs["categories"].shape[1] if "categories" in inputs else 0
    require(
        len(cardinalities) == columns,
        "cardinalities",
        f"name the number of codes of each of the {columns} category columns",
        list(cardinalities),
    )
    return Identity(numeric, cardinalities)


def _model(backbone: Identity, groups: Sequence[TaskGroup]) -> MultiTaskModel:
    placed = [pair for g in groups for pair in zip(g.indices, g.tasks, strict=True)]
    names = [task.name for _, task in sorted(placed, key=lambda pair: pair[0])]
    with torch.random.fork_rng(devices=[]):
        model = MultiTaskModel(backbone, HardSharing(names, backbone.width), groups)
    return model.eval()


@torch.no_grad()
def _write(model: MultiTaskModel, weights: Array, biases: Array) -> None:
    begin = 0
    for stack in model.heads.stacks:
        own: Mapping[str, Tensor] = dict(stack.named_parameters())
        size = own["bias"].numel()
        part = slice(begin, begin + size)
        own["weight"].copy_(torch.from_numpy(weights[:, part].T).reshape(own["weight"].shape))
        own["bias"].copy_(torch.from_numpy(biases[part]).reshape(own["bias"].shape))
        begin += size


def _rows(rows: int, width: int, seed: int) -> Tensor:
    limit = max(1000, MAX_CELLS // max(width, 1))
    if rows <= limit:
        return torch.arange(rows)
    chosen = np.random.default_rng(seed).choice(rows, limit, replace=False)
    return torch.from_numpy(np.sort(chosen))


def _take(table: Batch, rows: Tensor) -> Batch:
    if len(rows) == len(table.rows):
        return table
    inputs = table.inputs
    return Batch(
        inputs[rows] if isinstance(inputs, Tensor) else {n: t[rows] for n, t in inputs.items()},
        {name: target[rows] for name, target in table.targets.items()},
        {name: mask[rows] for name, mask in table.masks.items()},
        None if table.row_weights is None else table.row_weights[rows],
        table.rows[rows],
    )
