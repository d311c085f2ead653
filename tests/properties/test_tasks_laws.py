"""Laws of every kind of target, on inputs nobody chose."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polytask.tasks import Binary, Count, Multiclass, Multilabel, Regression, masked_sums

SPECS = {
    "squared": Regression("t"),
    "absolute": Regression("t", loss="absolute"),
    "huber": Regression("t", loss="huber", delta=0.6),
    "binary": Binary("t"),
    "binary, balanced": Binary("t", class_weight="balanced"),
    "binary, smoothed": Binary("t", class_weight="balanced", label_smoothing=0.2),
    "multiclass": Multiclass("t"),
    "multiclass, balanced": Multiclass("t", class_weight="balanced"),
    "multiclass, smoothed": Multiclass("t", label_smoothing=0.3),
    "multiclass, both": Multiclass("t", class_weight="balanced", label_smoothing=0.3),
    "multilabel": Multilabel("t", columns=("a", "b", "c")),
    "multilabel, both": Multilabel(
        "t", columns=("a", "b", "c"), class_weight="balanced", label_smoothing=0.1
    ),
    "count": Count("t"),
}
NAMES = st.sampled_from(sorted(SPECS))
FEW = settings(max_examples=80, deadline=None)


def draw_cells(spec, rng, rows):
    """Raw cells with gaps; the first rows hold every class."""
    if isinstance(spec, Regression):
        cells = rng.standard_t(2, rows) * 10.0 ** rng.integers(-3, 4)
    elif isinstance(spec, Count):
        cells = rng.poisson(2.0, rows).astype(float)
    elif isinstance(spec, Binary):
        cells = (rng.random(rows) < 0.3).astype(float)
        cells[:2] = [0, 1]
    elif isinstance(spec, Multiclass):
        cells = rng.integers(0, 4, rows).astype(float)
        cells[:4] = range(4)
    else:
        cells = (rng.random((rows, 3)) < 0.4).astype(float)
        cells[:2] = [[0, 1, 0], [1, 0, 1]]
        cells[2:][rng.random((rows - 2, 3)) < 0.4] = np.nan
        return cells
    cells[4:][rng.random(rows - 4) < 0.3] = np.nan
    return cells


def encoded(task, cells):
    """Target in float64 (class positions stay integers), mask."""
    target, mask = task.encode(cells)
    return (target.double() if target.is_floating_point() else target), mask


def mean_loss(task, output, cells, weights):
    target, mask = encoded(task, cells)
    sums, counts = masked_sums(task.loss(output, target), mask, weights)
    return sums / counts


def situation(name, seed):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(8, 40))
    spec = SPECS[name]
    cells, weights = draw_cells(spec, rng, rows), rng.uniform(0.1, 3.0, rows)
    task = spec.fit(cells, weights)
    output = torch.from_numpy(rng.normal(size=(rows, task.outputs)))
    return task, output, cells, weights


@FEW
@given(name=NAMES, seed=st.integers(0, 2**32 - 1))
def test_masking_a_label_equals_deleting_its_term(name, seed):
    """To 1e-12 in float64, value and gradient, with NaN in the raw cells and row weights."""
    task, output, cells, weights = situation(name, seed)
    labelled = ~np.isnan(cells) if cells.ndim == 1 else ~np.isnan(cells).all(-1)
    masked = output.clone().requires_grad_()
    whole = mean_loss(task, masked, cells, torch.from_numpy(weights))
    whole.backward()
    kept = output[labelled].clone().requires_grad_()
    part = mean_loss(task, kept, cells[labelled], torch.from_numpy(weights[labelled]))
    part.backward()
    assert whole.item() == pytest.approx(part.item(), rel=1e-12, abs=1e-12)
    assert torch.allclose(masked.grad[labelled], kept.grad, rtol=1e-12, atol=1e-12)
    assert not masked.grad[~labelled].any()
    filled = task.loss(output, encoded(task, cells)[0])
    if (~labelled).any() and not isinstance(task.spec, Multilabel):
        wrong = (filled * torch.from_numpy(weights)).sum() / weights.sum()
        assert wrong.item() != pytest.approx(whole.item(), rel=1e-9)  # gaps taken as labels


def by_hand(task, output, target):
    """The formulas of the docstrings, one row at a time, no torch.nn.functional."""
    spec, rows = task.spec, []
    for z, y in zip(output, target, strict=True):
        if isinstance(spec, Regression):
            r = z[0] - y
            huber = 0.5 * r**2 if abs(r) <= spec.delta else spec.delta * (abs(r) - spec.delta / 2)
            rows.append({"squared": r**2, "absolute": abs(r), "huber": huber}[spec.loss])
        elif isinstance(spec, Count):
            rows.append(z[0].exp() - y * z[0] + torch.lgamma(y + 1))
        elif isinstance(spec, Multiclass):
            minus_log_p = z.exp().sum().log() - z
            e, w = spec.label_smoothing, 1.0
            if task.class_weights is not None:
                w = task.class_weights[int(y)]
            rows.append(w * ((1 - e) * minus_log_p[int(y)] + e * minus_log_p.mean()))
        else:
            weights, labels = task.class_weights, [y] if isinstance(spec, Binary) else list(y)
            cells = []
            for k, label in enumerate(labels):
                if label < 0:
                    continue
                pair = (1.0, 1.0) if weights is None else weights
                pair = pair if isinstance(spec, Binary) or weights is None else pair[k]
                e = spec.label_smoothing
                smooth = (1 - e) * label + e / 2
                cells.append(pair[int(label)] * ((1 + z[k].exp()).log() - smooth * z[k]))
            rows.append(torch.stack(cells).mean() if cells else 0 * z.sum())
    return torch.stack(rows)


@FEW
@given(name=NAMES, seed=st.integers(0, 2**32 - 1))
def test_value_and_gradient_are_those_of_the_formula(name, seed):
    task, output, cells, weights = situation(name, seed)
    target, mask = encoded(task, cells)
    gradients, values = [], []
    for loss in (task.loss, lambda z, y: by_hand(task, z, y)):
        leaf = output.clone().requires_grad_()
        sums, counts = masked_sums(loss(leaf, target), mask, torch.from_numpy(weights))
        (sums / counts).backward()
        values.append((sums / counts).item())
        gradients.append(leaf.grad)
    assert values[0] == pytest.approx(values[1], rel=1e-11)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-10, atol=1e-12)


@FEW
@given(name=NAMES, seed=st.integers(0, 2**32 - 1))
def test_the_baseline_minimises_the_training_loss(name, seed):
    task, _, cells, weights = situation(name, seed)
    rows, weight = len(cells), torch.from_numpy(weights)
    best = task.baseline().double()
    lowest = mean_loss(task, best.expand(rows, -1), cells, weight).item()
    generator = torch.Generator().manual_seed(seed % 2**31)
    for size in (1e-2, 0.1, 1.0):
        step = torch.randn(task.outputs, generator=generator, dtype=torch.float64) * size
        other = mean_loss(task, (best + step).expand(rows, -1), cells, weight).item()
        # float32 constants are off by 1e-7, which costs at most that much of the loss
        assert other >= lowest - 1e-7 * max(1.0, abs(lowest))
    unweighted = task.spec.fit(cells).baseline().double()
    assert mean_loss(task, unweighted.expand(rows, -1), cells, weight).item() >= lowest - 1e-6


@FEW
@given(name=NAMES, seed=st.integers(0, 2**32 - 1))
def test_predicting_the_encoded_label_returns_the_label(name, seed):
    task, _, cells, _ = situation(name, seed)
    target, mask = task.encode(cells)
    if isinstance(task.spec, Regression):
        output = target[:, None]
    elif isinstance(task.spec, Count):
        output = target[:, None].double().clamp(min=1e-12).log()
    elif isinstance(task.spec, Multiclass):
        output = 9 * torch.nn.functional.one_hot(target, task.outputs).double()
    else:
        output = 9 * (target.reshape(len(cells), -1) - 0.5)
    predicted = task.predict(output)
    if isinstance(task.spec, Multilabel):
        for k, column in enumerate(task.spec.columns):
            known = ~np.isnan(cells[:, k])
            assert predicted[column][known].tolist() == cells[known, k].tolist()
        return
    labelled = mask.numpy()
    spread = task.scale if isinstance(task.spec, Regression) else 1.0
    assert np.allclose(predicted[""][labelled], cells[labelled], rtol=1e-6, atol=1e-6 * spread)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_class_weights_keep_the_scale_of_the_loss(seed):
    """The mean weight over the training labels is 1, with row weights too."""
    task, _, cells, weights = situation("multiclass, balanced", seed)
    target, mask = task.encode(cells)
    factors = np.array(task.class_weights)[target.numpy()]
    kept = weights * mask.numpy()
    assert kept @ factors / kept.sum() == pytest.approx(1, rel=1e-12)
    unweighted = Multiclass("t", class_weight="balanced").fit(cells)
    wrong = np.array(unweighted.class_weights)[target.numpy()]
    assume(len(set(unweighted.class_weights)) > 1)
    assert kept @ wrong / kept.sum() != pytest.approx(1, rel=1e-9)
