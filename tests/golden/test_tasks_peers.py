"""Losses, weights and baselines against scikit-learn, SciPy and torch: input, expected, source."""

import numpy as np
import pytest
import torch

from polytask.tasks import Binary, Count, Multiclass, Multilabel, Regression, masked_sums

RNG = np.random.default_rng(5)


def mean_loss(task, output, cells, weights=None):
    """The training loss of a task, in float64."""
    target, mask = task.encode(cells)
    target = target.double() if target.is_floating_point() else target
    row_weights = None if weights is None else torch.from_numpy(weights)
    sums, counts = masked_sums(task.loss(output.double(), target), mask, row_weights)
    return (sums / counts).item()


@pytest.mark.parametrize("weighted", [False, True])
def test_log_losses(weighted):
    from sklearn.metrics import log_loss

    weights = RNG.uniform(0.5, 2, 50) if weighted else None
    binary = RNG.integers(0, 2, 50)
    logit = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)).double()
    assert mean_loss(Binary("t").fit(binary), logit, binary, weights) == pytest.approx(
        log_loss(binary, torch.sigmoid(logit[:, 0]).numpy(), sample_weight=weights), rel=1e-12
    )
    classes = RNG.integers(0, 3, 50)
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    assert mean_loss(Multiclass("t").fit(classes), logits, classes, weights) == pytest.approx(
        log_loss(classes, torch.softmax(logits, -1).numpy(), sample_weight=weights), rel=1e-12
    )


def test_poisson_likelihood():
    from scipy.stats import poisson

    counts, log_rate = RNG.poisson(3, 50), RNG.normal(1, 0.5, 50)
    expected = -poisson.logpmf(counts, np.exp(log_rate)).mean()
    output = torch.from_numpy(log_rate[:, None])
    assert mean_loss(Count("t").fit(counts), output, counts) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
def test_huber_is_scipys(delta):
    from scipy.special import huber

    cells = RNG.standard_t(2, 60)
    task = Regression("t", loss="huber", delta=delta).fit(cells)
    standardised = task.encode(cells)[0].double().numpy()
    output = torch.zeros(60, 1)
    assert mean_loss(task, output, cells) == pytest.approx(
        huber(delta, standardised).mean(), rel=1e-12
    )


def test_median_is_numpys():
    for cells in (RNG.normal(size=9), RNG.normal(size=10)):
        task = Regression("t", loss="absolute").fit(cells)
        value = task.constant * task.scale + task.center
        assert value == pytest.approx(np.median(cells), rel=1e-12)


def test_weighted_median_repeats_rows():
    cells, times = RNG.normal(size=15), RNG.integers(0, 4, 15)
    weighted = Regression("t", loss="absolute", center=0.0, scale=1.0).fit(
        cells, times.astype(float)
    )
    repeated = Regression("t", loss="absolute", center=0.0, scale=1.0).fit(cells.repeat(times))
    assert weighted.constant == pytest.approx(repeated.constant, rel=1e-12)
    assert weighted.constant != pytest.approx(np.median(cells))


def test_huber_location_is_scipys_minimum():
    from scipy.optimize import minimize_scalar
    from scipy.special import huber

    cells, weights = RNG.standard_t(1.5, 80), RNG.uniform(0, 2, 80)
    task = Regression("t", loss="huber", delta=0.7, center=0.0, scale=1.0).fit(cells, weights)
    best = minimize_scalar(
        lambda c: float(weights @ huber(0.7, cells - c)), bracket=(-1, 1), tol=1e-14
    )
    # A minimum of height f is located to about the square root of the rounding of f.
    assert task.constant == pytest.approx(best.x, abs=1e-6)
    slope = weights @ np.clip(task.constant - cells, -0.7, 0.7)
    assert slope == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_class_shares_are_the_dummy_classifiers(weighted):
    from sklearn.dummy import DummyClassifier

    weights = RNG.uniform(0, 2, 60) if weighted else None
    cells = np.array(["a", "b", "c"])[RNG.integers(0, 3, 60)]
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((60, 1)), cells, weights)
    expected = dummy.predict_proba(np.zeros((1, 1)))[0]
    task = Multiclass("t").fit(cells, weights)
    predicted = task.predict(task.baseline()[None])
    found = [predicted[f"probability_{label}"][0] for label in "abc"]
    assert found == pytest.approx(expected, rel=1e-6)


def test_balanced_loss_is_scikit_learns_balanced_log_loss():
    """Balanced class weights act as scikit-learn's balanced sample weights."""
    from sklearn.metrics import log_loss
    from sklearn.utils.class_weight import compute_sample_weight

    cells = np.array([0] * 30 + [1] * 6 + [2] * 4)
    logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(2)).double()
    expected = log_loss(
        cells,
        torch.softmax(logits, -1).numpy(),
        sample_weight=compute_sample_weight("balanced", cells),
    )
    task = Multiclass("t", class_weight="balanced").fit(cells)
    # float32 never enters: the weights are applied in the dtype of the loss.
    assert mean_loss(task, logits, cells) == pytest.approx(expected, rel=1e-12)


def test_multilabel_without_gaps_is_the_mean_log_loss():
    from sklearn.metrics import log_loss

    cells = RNG.integers(0, 2, (30, 2))
    logits = torch.randn(30, 2, generator=torch.Generator().manual_seed(2)).double()
    expected = log_loss(cells.ravel(), torch.sigmoid(logits).numpy().ravel())
    task = Multilabel("t", columns=("a", "b")).fit(cells)
    assert mean_loss(task, logits, cells) == pytest.approx(expected, rel=1e-12)
