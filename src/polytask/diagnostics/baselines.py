"""The linear baseline: what ridge and logistic regression reach on the same encoded inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polytask.data.batch import Batch
from polytask.tasks import (
    BinaryTask,
    CountTask,
    MulticlassTask,
    MultilabelTask,
    RegressionTask,
    Task,
    TaskGroup,
)

from .design import Design, Matrix, is_table
from .evaluate import hard
from .linear import Fit, logistic, poisson, ridge
from .predictions import Outputs

MIN_LABELS = 10
"""Fewer training labels than this, and there is no linear baseline."""
MAX_CELLS = 50_000_000
"""Rows × columns of the matrix a linear model is fitted on; more rows are sampled."""


@final
@dataclass(frozen=True)
class LinearBaseline:
    """One linear model per task, its raw outputs on the same scale as the network's.

    Args:
        groups: The task groups.
        design: The columns, or None if the inputs are not a table.
        weights: Task group → ``[k, outputs, columns]``; NaN for a task without a linear model.
        biases: Task group → ``[k, outputs]``.
        words: Task → which model with which strength.
        missing: Task → why it has none.
    """

    groups: tuple[TaskGroup, ...]
    design: Design | None
    weights: Mapping[str, Tensor]
    biases: Mapping[str, Tensor]
    words: Mapping[str, str]
    missing: Mapping[str, str]

    def predict(self, table: Batch) -> dict[str, Tensor]:
        """Task group → raw outputs ``[rows, k, outputs]``."""
        if self.design is None:
            rows = len(table.rows)
            shapes = {g.name: (rows, len(g.tasks), g.outputs) for g in self.groups}
            return {name: torch.full(shape, torch.nan) for name, shape in shapes.items()}
        inputs = torch.from_numpy(self.design.matrix(table.inputs))
        return {
            group.name: (
                torch.einsum("rf,kof->rko", inputs, self.weights[group.name])
                + self.biases[group.name]
            ).float()
            for group in self.groups
        }

    def outputs(self, table: Batch, like: Outputs) -> Outputs:
        """The linear models' raw outputs beside the labels of `like`, whose rows are `table`'s."""
        return like.with_outputs(self.predict(table))


class _Place(NamedTuple):
    task: Task
    group: str
    place: int


class _Cells(NamedTuple):
    """The labelled cells of the tasks that one linear model serves."""

    places: tuple[_Place, ...]
    matrix: Matrix
    target: Tensor
    weights: Matrix


def linear_baseline(
    train: Batch, groups: Sequence[TaskGroup], *, long_form: bool = False, seed: int = 0
) -> LinearBaseline:
    """Fits the linear baseline of every task on training rows.

    Regression: ridge on the standardised target. Binary and multiclass: logistic regression.
    Multilabel: one logistic regression per label. Count: Poisson regression. The strength is chosen
    inside the training rows; row weights and class weights are those of the task.

    Args:
        train: All training rows, encoded.
        groups: The task groups.
        long_form: The tasks come from one column, each row belonging to one of them: then all
            tasks of a kind share one model on the inputs and an indicator of the task, which is
            much stronger than one model per small task.
        seed: Seed of folds and samples.

    Note:
        A custom kind of task, too few labels, or inputs that are not a table: no linear baseline,
        and `LinearBaseline.missing` says why.
    """
    groups = tuple(groups)
    places = [
        _Place(task, group.name, place)
        for group in groups
        for place, task in enumerate(group.tasks)
    ]
    if not is_table(train.inputs):
        reason = "the inputs are not a table"
        return LinearBaseline(groups, None, {}, {}, {}, {p.task.name: reason for p in places})
    design = Design.fit(train.inputs)
    builder = _Builder(groups, design, seed)
    matrix = design.standardised(design.matrix(train.inputs))
    if long_form:
        for family in _families(places):
            builder.add(_cells(family, train, matrix, seed))
    else:
        builder.add_ridges([p for p in places if isinstance(p.task, RegressionTask)], train, matrix)
        for place in places:
            if not isinstance(place.task, RegressionTask):
                builder.add(_cells((place,), train, matrix, seed))
    return builder.result()


@final
class _Builder:
    """Collects the coefficients of all tasks."""

    def __init__(self, groups: tuple[TaskGroup, ...], design: Design, seed: int) -> None:
        self.groups, self.design, self.seed = groups, design, seed
        shapes = {g.name: (len(g.tasks), g.outputs) for g in groups}
        self.biases = {n: torch.full(s, torch.nan, dtype=torch.float64) for n, s in shapes.items()}
        self.weights = {
            n: torch.full((*s, design.width), torch.nan, dtype=torch.float64)
            for n, s in shapes.items()
        }
        self.words: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def add_ridges(self, places: Sequence[_Place], train: Batch, matrix: Matrix) -> None:
        """Ridge for every place; tasks with the same labelled rows share one decomposition."""
        same: dict[bytes, list[_Place]] = {}
        for place in places:
            rows = train.masks[place.group][:, place.place].cpu().numpy()
            same.setdefault(np.packbits(rows).tobytes(), []).append(place)
        for members in same.values():
            cells = [_cells((place,), train, matrix, self.seed) for place in members]
            if self._too_few(cells[0], tuple(members)):
                continue
            targets = np.stack([cell.target.double().numpy() for cell in cells], axis=1)
            fits = ridge(cells[0].matrix, targets, cells[0].weights, self.seed)
            for place, fit in zip(members, fits, strict=True):
                self._store((place,), fit)

    def add(self, cells: _Cells) -> None:
        """One model for the tasks of `cells`, all of one kind."""
        if self._too_few(cells, cells.places):
            return
        task = cells.places[0].task
        if isinstance(task, RegressionTask):
            targets = cells.target.double().numpy()[:, None]
            self._store(cells.places, ridge(cells.matrix, targets, cells.weights, self.seed)[0])
        elif isinstance(task, BinaryTask | MulticlassTask):
            self._add_classes(cells, task)
        elif isinstance(task, MultilabelTask):
            self._add_labels(cells, task)
        elif isinstance(task, CountTask):
            target = cells.target.double().numpy()
            if not target.any():
                self._refuse(cells.places, "all training labels are 0")
                return

            def loss(output: Matrix, rows: NDArray[np.int64]) -> Matrix:
                return _loss(task, output, cells.target[rows])

            fit = poisson(cells.matrix, target, cells.weights, loss, self.seed)
            self._store(cells.places, fit)
        else:
            self._refuse(cells.places, f"there is none for the kind {task.spec.kind!r}")

    def _add_classes(self, cells: _Cells, task: BinaryTask | MulticlassTask) -> None:
        target = cells.target.long().numpy()
        if len(np.unique(target)) < 2:
            self._refuse(cells.places, "the training labels have one class only")
            return
        weights = cells.weights
        if task.class_weights is not None:
            weights = weights * np.array(task.class_weights)[target]
        # The weights already hold the class weights: choose C by the plain loss.
        classes = 2 if isinstance(task, BinaryTask) else task.outputs

        def loss(output: Matrix, rows: NDArray[np.int64]) -> Matrix:
            return _cross_entropy(output, target[rows])

        fit = logistic(cells.matrix, target, weights, classes, loss, self.seed)
        self._store(cells.places, fit)

    def _add_labels(self, cells: _Cells, task: MultilabelTask) -> None:
        fits: list[Fit] = []
        for label in range(task.outputs):
            known = (cells.target[:, label] >= 0).numpy()
            target = cells.target[:, label].long().numpy()[known]
            weights = cells.weights[known]
            if len(np.unique(target)) < 2:
                column = task.spec.columns[label]
                self._refuse(cells.places, f"label {column!r} has one class only")
                return
            if task.class_weights is not None:
                weights = weights * np.array(task.class_weights[label])[target]

            def loss(
                output: Matrix, rows: NDArray[np.int64], truth: NDArray[np.int64] = target
            ) -> Matrix:
                return _cross_entropy(output, truth[rows])

            fits.append(logistic(cells.matrix[known], target, weights, 2, loss, self.seed))
        merged = Fit(
            np.concatenate([fit.weights for fit in fits]),
            np.concatenate([fit.biases for fit in fits]),
            "logistic regression per label",
        )
        self._store(cells.places, merged)

    def _too_few(self, cells: _Cells, places: tuple[_Place, ...]) -> bool:
        labels = len(cells.weights)
        if labels < MIN_LABELS:
            self._refuse(places, f"only {labels} training labels")
        return labels < MIN_LABELS

    def _refuse(self, places: tuple[_Place, ...], reason: str) -> None:
        self.missing.update({place.task.name: reason for place in places})

    def _store(self, places: tuple[_Place, ...], fit: Fit) -> None:
        """Coefficients back to the plain inputs; an indicator becomes the task's own bias."""
        width = self.design.width
        weights, biases = self.design.unstandardised(fit.weights[:, :width], fit.biases)
        shared = f", one model for all {len(places)} tasks with a bias each"
        for position, place in enumerate(places):
            own = biases if len(places) == 1 else biases + fit.weights[:, width + position]
            self.weights[place.group][place.place] = torch.from_numpy(weights)
            self.biases[place.group][place.place] = torch.from_numpy(own)
            self.words[place.task.name] = fit.words + shared * (len(places) > 1)

    def result(self) -> LinearBaseline:
        """The finished baseline."""
        return LinearBaseline(
            self.groups, self.design, self.weights, self.biases, self.words, self.missing
        )


def _families(places: Sequence[_Place]) -> list[tuple[_Place, ...]]:
    """Tasks that one model can serve: same kind, same width."""
    families: dict[tuple[type[Task], int], list[_Place]] = {}
    for place in places:
        families.setdefault((type(place.task), place.task.outputs), []).append(place)
    return [tuple(family) for family in families.values()]


def _cells(places: tuple[_Place, ...], train: Batch, matrix: Matrix, seed: int) -> _Cells:
    weights = (
        np.ones(len(matrix))
        if train.row_weights is None
        else train.row_weights.double().cpu().numpy()
    )
    masks = [train.masks[p.group][:, p.place].cpu().numpy() & (weights > 0) for p in places]
    rows = [mask.nonzero()[0] for mask in masks]
    which = np.concatenate([np.full(len(r), i) for i, r in enumerate(rows)])
    where = np.concatenate(rows)
    width = matrix.shape[1] + (len(places) if len(places) > 1 else 0)
    limit = max(1000, MAX_CELLS // max(width, 1))
    if len(where) > limit:
        kept = np.sort(np.random.default_rng(seed).choice(len(where), limit, replace=False))
        which, where = which[kept], where[kept]
    target = torch.cat([train.targets[p.group][:, p.place][None] for p in places]).cpu()
    design = matrix[where]
    if len(places) > 1:
        design = np.concatenate([design, which[:, None] == np.arange(len(places))], axis=1)
    return _Cells(places, design, target[which, where], weights[where])


def _loss(task: Task, output: Matrix, target: Tensor) -> Matrix:
    return hard(task).loss(torch.from_numpy(output), target).double().numpy()


def _cross_entropy(output: Matrix, target: NDArray[np.int64]) -> Matrix:
    if output.shape[1] == 1:
        return np.asarray(np.logaddexp(0.0, output[:, 0]) - target * output[:, 0])
    shifted = output - output.max(1, keepdims=True)
    chosen = shifted[np.arange(len(target)), target]
    return np.asarray(np.log(np.exp(shifted).sum(1)) - chosen)
