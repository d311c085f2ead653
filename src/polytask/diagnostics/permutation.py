"""Permutation-label test: could the score have come from labels that mean nothing?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from polytask._checks import at_least
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
from .shuffled_fits import Scores, Side, fit_logits, fit_squares

MAX_ROWS = 5000
"""Rows per side of the linear test; a random part of larger tables."""
MIN_ROWS = 500
MAX_PRODUCTS = 100_000_000
"""Rows × columns × orders × outputs of one step of the linear test."""
LINEAR, REFITTED = 100, 20
"""Permutations of the linear model, and of models that `refit` trains."""

Orders = Mapping[str, NDArray[np.int64]]
"""Task → order of its labelled training rows: row i gets the label of row order[i]."""


class RefitScores(NamedTuple):
    """What a refit gives.

    Args:
        valid: Task → validation loss.
        train: Task → training loss on the labels it was fitted to; may be empty.
    """

    valid: Mapping[str, float]
    train: Mapping[str, float]


Refit = Callable[[Orders], RefitScores]


@final
@dataclass(frozen=True)
class PermutationTest:
    """The test of one task.

    Args:
        task: Its name.
        score: Validation loss with the true labels.
        shuffled: Validation losses with shuffled training labels.
        p_value: (k + 1) / (m + 1) with k of the m shuffled losses as low as the true one.
        refits: m.
        model: Which model was refitted, in words.
        memorised: Share of the mean predictor's training loss that the model took off shuffled
            labels: 0 it cannot learn them, 1 it knows them by heart; None: not measured. A
            reading of capacity.
    """

    task: str
    score: float
    shuffled: tuple[float, ...]
    p_value: float
    refits: int
    model: str
    memorised: float | None = None


def permutation_test(
    train: Batch,
    valid: Batch,
    groups: Sequence[TaskGroup],
    *,
    permutations: int | None = None,
    refit: Refit | None = None,
    together: bool = True,
    model: str = "",
    seed: int = 0,
) -> tuple[PermutationTest, ...]:
    r"""Refits with shuffled training labels and compares the losses on the true validation rows.

    Labels are shuffled among the labelled training rows of the task; inputs, row weights and all
    validation rows stay. If labels had nothing to do with inputs, the true order would be one
    order among the others, and

    .. math:: p = \frac{k + 1}{m + 1}, \qquad k = \#\{j : L_j \le L\}

    with the loss L of the true labels and the losses :math:`L_1 \dots L_m` of m shuffled ones
    would be uniform on its grid. The "+ 1" counts the true order itself: k / m would call one
    in m + 1 pure accidents certain (p = 0).

    Args:
        train: Encoded training rows.
        valid: Encoded validation rows.
        groups: The task groups.
        permutations: m; None: 100 for the linear model, 20 with `refit`.
        refit: Trains a model of your own with the orders it gets and scores it; called with
            orders that change nothing for the true labels. None: a linear model with a fixed
            penalty, squared error for regression, squared error of log(1 + count), log-loss for
            classes; its factorisation is shared by all orders.
        together: With `refit`: shuffle all tasks in the same refits (m + 1 of them), or one task
            after the other while the rest keeps its labels (m per task). Together is cheaper and
            asks "does anything here depend on the inputs"; with a shared trunk only one by one
            tells whether this task does.
        model: With `refit`: its name, in words.
        seed: Seed of the shuffles' own generator.

    Returns:
        A test per task in the user's order; tasks without labels on one side, of a custom kind,
        or without inputs that are a table are left out by the linear model.

    Example:
        >>> from polytask import Regression
        >>> from polytask.tasks import group_tasks
        >>> x = torch.randn(80, 2, generator=torch.Generator().manual_seed(0))
        >>> task = Regression("y").fit(x[:, 0].numpy())
        >>> y, mask = task.encode(x[:, 0].numpy())
        >>> table = Batch(x, {"y": y[:, None]}, {"y": mask[:, None]}, None, torch.arange(80))
        >>> (test,) = permutation_test(table, table, group_tasks([task]), permutations=99)
        >>> test.p_value, test.refits
        (0.01, 99)

    Reference:
        M. Ojala and G. Garriga, "Permutation tests for studying classifier performance", Journal
        of Machine Learning Research 11, 2010. https://www.jmlr.org/papers/v11/ojala10a.html
        B. Phipson and G. Smyth, "Permutation p-values should never be zero", Statistical
        Applications in Genetics and Molecular Biology 9, 2010.
    """
    count = permutations or (LINEAR if refit is None else REFITTED)
    at_least("permutations", count, 1)
    generator = np.random.default_rng(seed)
    places = sorted(
        (
            (index, task, group.name, place)
            for group in groups
            for place, (index, task) in enumerate(zip(group.indices, group.tasks, strict=True))
        ),
        key=lambda row: row[0],
    )
    if refit is not None:
        labels = {
            task.name: int(train.masks[group][:, place].sum()) for _, task, group, place in places
        }
        baselines = {task.name: _constant_loss(task, train, g, p) for _, task, g, p in places}
        return _refitted(refit, labels, baselines, count, model, generator, together=together)
    if not is_table(train.inputs):
        return ()
    design = Design.fit(train.inputs)
    seen, unseen = (design.standardised(design.matrix(rows.inputs)) for rows in (train, valid))
    found = []
    for _, task, group, place in places:
        sides = [
            _side(task, matrix, rows, group, place, count, generator)
            for matrix, rows in ((seen, train), (unseen, valid))
        ]
        if sides[0] is None or sides[1] is None:
            continue
        found.append(_linear(task, sides[0], sides[1], count, generator))
    return tuple(found)


def shuffled_labels(train: Batch, groups: Sequence[TaskGroup], orders: Orders) -> Batch:
    """Training rows whose labels are exchanged: what a `refit` trains on.

    Args:
        train: Encoded training rows.
        groups: The task groups.
        orders: Task → order of its labelled rows; tasks that are missing keep their labels.
    """
    targets = {name: target.clone() for name, target in train.targets.items()}
    for group in groups:
        for place, task in enumerate(group.tasks):
            if task.name in orders:
                rows = train.masks[group.name][:, place].nonzero().squeeze(-1)
                order = torch.from_numpy(orders[task.name]).to(rows.device)
                targets[group.name][rows, place] = train.targets[group.name][rows[order], place]
    return train._replace(targets=targets)


def p_value(score: float, shuffled: Sequence[float]) -> float:
    """(k + 1) / (m + 1) with k of m shuffled losses as low as the true one; ties count.

    Example:
        >>> p_value(0.5, [0.4, 0.5, 0.9, 0.8])
        0.6
    """
    limit = score + 1e-9 * abs(score)
    return (1 + sum(not loss > limit for loss in shuffled)) / (1 + len(shuffled))


def _refitted(
    refit: Refit,
    labels: Mapping[str, int],
    baselines: Mapping[str, float],
    count: int,
    model: str,
    generator: np.random.Generator,
    *,
    together: bool,
) -> tuple[PermutationTest, ...]:
    true = refit({name: np.arange(rows) for name, rows in labels.items()})
    shuffles: dict[str, list[RefitScores]] = {name: [] for name in true.valid}
    for names in [list(labels)] if together else [[name] for name in shuffles]:
        for _ in range(count):
            scores = refit(
                {
                    name: generator.permutation(rows) if name in names else np.arange(rows)
                    for name, rows in labels.items()
                }
            )
            for name in names:
                if name in shuffles:
                    shuffles[name].append(scores)
    found = []
    for name, refits in shuffles.items():
        losses = tuple(scores.valid[name] for scores in refits)
        seen = [scores.train[name] for scores in refits if name in scores.train]
        unit = baselines[name]
        memorised = 1 - float(np.mean(seen)) / unit if seen and unit > 0 else None
        score = true.valid[name]
        found.append(
            PermutationTest(name, score, losses, p_value(score, losses), count, model, memorised)
        )
    return tuple(found)


def _linear(
    task: Task, train: Side, valid: Side, count: int, generator: np.random.Generator
) -> PermutationTest:
    rows = len(train.inputs)
    orders = np.stack(
        [np.arange(rows), *(generator.permutation(rows) for _ in range(count))], dtype=np.int64
    )
    scores: Scores
    if isinstance(task, RegressionTask | CountTask):
        scores, words = fit_squares(train, valid, orders), "ridge regression"
        mean = np.average(train.target, axis=0, weights=train.weights)
        unit = float(np.average((train.target - mean)[:, 0] ** 2, weights=train.weights))
    else:
        softmax = isinstance(task, MulticlassTask)
        scores = fit_logits(train, valid, orders, softmax=softmax)
        words = "logistic regression"
        flat = train.inputs.copy()
        flat[:, :-1] = 0.0
        none = train._replace(inputs=flat)
        unit = float(fit_logits(none, none, orders[:1], softmax=softmax).train[0])
    shuffled = tuple(scores.valid[1:].tolist())
    score = float(scores.valid[0])
    memorised = 1 - float(scores.train[1:].mean()) / unit if unit > 0 else None
    return PermutationTest(
        task.name, score, shuffled, p_value(score, shuffled), count, words, memorised
    )


def _side(
    task: Task,
    matrix: Matrix,
    rows: Batch,
    group: str,
    place: int,
    count: int,
    generator: np.random.Generator,
) -> Side | None:
    weights = (
        np.ones(len(matrix))
        if rows.row_weights is None
        else rows.row_weights.double().cpu().numpy()
    )
    labelled = rows.masks[group][:, place].cpu().numpy() & (weights > 0)
    kept = labelled.nonzero()[0]
    outputs = task.outputs if isinstance(task, MulticlassTask | MultilabelTask) else 1
    products = max(matrix.shape[1], 1) * (count + 1) * outputs
    limit = min(MAX_ROWS, max(MIN_ROWS, MAX_PRODUCTS // products))
    if len(kept) > limit:
        kept = np.sort(generator.choice(kept, limit, replace=False))
    raw = rows.targets[group][:, place].cpu().numpy()[kept]
    if isinstance(task, RegressionTask):
        target = raw[:, None]
    elif isinstance(task, CountTask):
        target = np.log1p(raw)[:, None]
    elif isinstance(task, BinaryTask):
        target = raw[:, None]
    elif isinstance(task, MulticlassTask):
        target = raw[:, None] == np.arange(task.outputs)
    elif isinstance(task, MultilabelTask):
        target = np.where(raw >= 0, raw, np.nan)
    else:
        return None
    if len(kept) < 2:
        return None
    inputs = np.concatenate([matrix[kept], np.ones((len(kept), 1))], axis=1)
    return Side(inputs, target.astype(np.float64), weights[kept] / weights[kept].mean())


def _constant_loss(task: Task, train: Batch, group: str, place: int) -> float:
    """Training loss of predicting the training distribution; it does not depend on the order."""
    rows = train.masks[group][:, place].nonzero().squeeze(-1)
    if not len(rows):
        return 0.0
    constant = task.baseline().to(rows.device).expand(len(rows), -1)
    losses = task.loss(constant, train.targets[group][rows, place]).double()
    weights = torch.ones_like(losses)
    if train.row_weights is not None:
        weights = train.row_weights[rows].double()
    return float((weights * losses).sum() / weights.sum())
