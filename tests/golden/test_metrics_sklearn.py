"""Every metric equals scikit-learn's on the labelled rows, with and without row weights."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from polytask.tasks import Binary, Count, Multiclass, Multilabel, Regression

ROWS = 200
RNG = np.random.default_rng(11)
MASK = RNG.random(ROWS) < 0.8
WEIGHT = RNG.uniform(0.1, 3.0, ROWS)


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def value(task, name, output, cells, weighted):
    cells = np.where(MASK.reshape((-1,) + (1,) * (cells.ndim - 1)), cells, np.nan)
    target, mask = task.encode(cells)
    weight = torch.from_numpy(WEIGHT).float() if weighted else None
    output = torch.from_numpy(output).float()
    return task.metrics()[name].compute(output, target, mask, weight)


def given(weighted):
    return {"sample_weight": WEIGHT[MASK].astype(np.float32)} if weighted else {}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("rmse", sklearn_metrics.root_mean_squared_error),
        ("mae", sklearn_metrics.mean_absolute_error),
        ("r2", sklearn_metrics.r2_score),
    ],
)
def test_regression(name, peer, weighted):
    cells = RNG.normal(50, 20, ROWS)
    task = Regression("t").fit(cells)
    output = (cells[:, None] - task.center) / task.scale + RNG.normal(0, 0.5, (ROWS, 1))
    predicted = task.predict(torch.from_numpy(output).float())[""]
    expected = peer(cells[MASK], predicted[MASK], **given(weighted))
    assert value(task, name, output, cells, weighted) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("auc", sklearn_metrics.roc_auc_score),
        ("average_precision", sklearn_metrics.average_precision_score),
        ("log_loss", sklearn_metrics.log_loss),
        ("accuracy", lambda y, p, **w: sklearn_metrics.accuracy_score(y, p > 0.5, **w)),
        ("brier", sklearn_metrics.brier_score_loss),
    ],
)
def test_binary(name, peer, weighted):
    cells = RNG.integers(0, 2, ROWS).astype(float)
    output = cells[:, None] + RNG.normal(0, 1, (ROWS, 1)).round(1)  # rounded: ties
    probability = sigmoid(output[:, 0].astype(np.float32).astype(float))
    expected = peer(cells[MASK], probability[MASK], **given(weighted))
    found = value(Binary("t").fit(cells), name, output, cells, weighted)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("accuracy", lambda y, p, **w: sklearn_metrics.accuracy_score(y, p.argmax(-1), **w)),
        (
            "balanced_accuracy",
            lambda y, p, **w: sklearn_metrics.balanced_accuracy_score(y, p.argmax(-1), **w),
        ),
        ("log_loss", sklearn_metrics.log_loss),
        ("auc", lambda y, p, **w: sklearn_metrics.roc_auc_score(y, p, multi_class="ovr", **w)),
    ],
)
def test_multiclass(name, peer, weighted):
    cells = RNG.integers(0, 4, ROWS).astype(float)
    output = 2 * np.eye(4)[cells.astype(int)] + RNG.normal(0, 1.5, (ROWS, 4))
    probability = softmax(output.astype(np.float32).astype(float))
    expected = peer(cells[MASK], probability[MASK], **given(weighted))
    found = value(Multiclass("t").fit(cells), name, output, cells, weighted)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["auc", "hamming_loss", "log_loss", "micro_f1"])
def test_multilabel(name, weighted):
    cells = RNG.integers(0, 2, (ROWS, 3)).astype(float)
    output = cells + RNG.normal(0, 1, (ROWS, 3))
    cells[RNG.random((ROWS, 3)) < 0.3] = np.nan
    seen = ~np.isnan(cells) & MASK[:, None]
    probability = sigmoid(output.astype(np.float32).astype(float))
    weights = np.broadcast_to(WEIGHT[:, None].astype(np.float32), cells.shape)
    weight = weights[seen] if weighted else None
    true, chance = cells[seen], probability[seen]
    expected = {
        "auc": lambda: np.mean(
            [
                sklearn_metrics.roc_auc_score(
                    cells[seen[:, k], k],
                    probability[seen[:, k], k],
                    sample_weight=weights[seen[:, k], k] if weighted else None,
                )
                for k in range(3)
            ]
        ),
        "hamming_loss": lambda: sklearn_metrics.hamming_loss(
            true, chance > 0.5, sample_weight=weight
        ),
        "log_loss": lambda: sklearn_metrics.log_loss(true, chance, sample_weight=weight),
        "micro_f1": lambda: sklearn_metrics.f1_score(true, chance > 0.5, sample_weight=weight),
    }[name]()
    task = Multilabel("t", columns=("a", "b", "c")).fit(cells)
    assert value(task, name, output, cells, weighted) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("poisson_deviance", sklearn_metrics.mean_poisson_deviance),
        ("rmse", sklearn_metrics.root_mean_squared_error),
        ("mae", sklearn_metrics.mean_absolute_error),
    ],
)
def test_count(name, peer, weighted):
    output = RNG.normal(1, 0.7, (ROWS, 1))
    cells = RNG.poisson(np.exp(output[:, 0] + RNG.normal(0, 0.3, ROWS))).astype(float)
    rate = np.exp(output[:, 0].astype(np.float32).astype(float))
    expected = peer(cells[MASK], rate[MASK], **given(weighted))
    found = value(Count("t").fit(cells), name, output, cells, weighted)
    assert found == pytest.approx(expected, rel=1e-6)
