import math

import pytest
import torch

from polytask.metrics import (
    binary_metrics,
    count_metrics,
    masked_metric,
    multiclass_metrics,
    multilabel_metrics,
    regression_metrics,
)

ROWS = 40


def family(kind):
    """(metrics, outputs, targets) of one kind, with varied numbers."""
    generator = torch.Generator().manual_seed(3)
    normal = torch.randn(ROWS, 3, generator=generator)
    if kind == "regression":
        metrics = regression_metrics(lambda standardised: standardised.double() * 2 + 1)
        return metrics, normal[:, :1], normal[:, 1]
    if kind == "binary":
        return binary_metrics(), normal[:, :1], (normal[:, 1] > 0).float()
    if kind == "multiclass":
        return multiclass_metrics(), normal, (normal.roll(1, 0) + normal).argmax(-1)
    if kind == "multilabel":
        target = (normal.roll(1, 0) > 0).float()
        target[torch.rand(ROWS, 3, generator=generator) < 0.2] = -1
        return multilabel_metrics(), normal, target
    return count_metrics(), normal[:, :1], torch.poisson(normal[:, 1].exp(), generator)


FAMILIES = ["regression", "binary", "multiclass", "multilabel", "count"]
CASES = [(kind, name) for kind in FAMILIES for name in family(kind)[0]]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_masked_rows_count_as_deleted(kind, name):
    metrics, output, target = family(kind)
    mask = torch.arange(ROWS) % 3 > 0
    spoiled, labels = output.clone(), target.clone()
    spoiled[~mask], labels[~mask] = 1e3, 0
    value = metrics[name].compute(spoiled, labels, mask, None)
    everything = torch.ones(int(mask.sum()), dtype=torch.bool)
    assert value == metrics[name].compute(output[mask], target[mask], everything, None)
    unmasked = metrics[name].compute(spoiled, labels, torch.ones_like(mask), None)
    assert unmasked != pytest.approx(value)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_weights_of_one_change_nothing_and_whole_weights_repeat_rows(kind, name):
    """The two libraries agree; rows of weight 0 are rows that are not there."""
    metrics, output, target = family(kind)
    compute, mask = metrics[name].compute, torch.ones(ROWS, dtype=torch.bool)
    plain = compute(output, target, mask, None)
    assert compute(output, target, mask, torch.ones(ROWS)) == pytest.approx(plain, rel=1e-6)
    times = torch.arange(ROWS) % 4
    repeated = compute(
        output.repeat_interleave(times, 0),
        target.repeat_interleave(times, 0),
        mask.repeat_interleave(times, 0),
        None,
    )
    weighted = compute(output, target, mask, times.float())
    assert weighted == pytest.approx(repeated, rel=1e-5)
    assert weighted != pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_undefined_is_nan_without_a_word(kind, name):
    metrics, output, target = family(kind)
    compute = metrics[name].compute
    none = torch.zeros(ROWS, dtype=torch.bool)
    assert math.isnan(compute(output, target, none, None))
    assert math.isnan(compute(output, target, ~none, torch.zeros(ROWS)))
    broken = output.clone()
    broken[5] = float("nan")
    assert math.isnan(compute(broken, target, ~none, None))


@pytest.mark.parametrize(
    ("kind", "name", "labels"),
    [
        ("regression", "r2", torch.full((ROWS,), 0.5)),
        ("binary", "auc", torch.ones(ROWS)),
        ("binary", "auc", torch.zeros(ROWS)),
        ("binary", "average_precision", torch.zeros(ROWS)),
        ("multiclass", "auc", torch.ones(ROWS, dtype=torch.int64)),
        ("multilabel", "auc", torch.ones(ROWS, 3)),
    ],
)
@pytest.mark.parametrize("weight", [None, torch.arange(1.0, ROWS + 1)])
def test_one_class_has_no_ranking(kind, name, labels, weight):
    metrics, output, _ = family(kind)
    mask = torch.ones(ROWS, dtype=torch.bool)
    assert math.isnan(metrics[name].compute(output, labels, mask, weight))
    ranked = {name, "auc", "average_precision", "r2"}
    defined = [other for other in metrics if other not in ranked]
    assert defined
    assert not any(
        math.isnan(metrics[other].compute(output, labels, mask, weight)) for other in defined
    )


def test_no_positives_have_no_f1():
    _, output, target = family("multilabel")
    metric, mask = multilabel_metrics()["micro_f1"], torch.ones(ROWS, dtype=torch.bool)
    nothing = torch.full_like(output, -1.0)
    for weight in (None, torch.ones(ROWS)):
        assert math.isnan(metric.compute(nothing, torch.zeros(ROWS, 3), mask, weight))
        assert metric.compute(nothing, target, mask, weight) == 0.0


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_gradient_does_not_pass(kind):
    metrics, output, target = family(kind)
    output.requires_grad_()
    mask = torch.ones(ROWS, dtype=torch.bool)
    for metric in metrics.values():
        assert math.isfinite(metric.compute(output, target, mask, None))


def test_judges_see_labelled_rows_in_double_precision():
    seen = []

    def judge(prediction, target, weight):
        seen.append((prediction, target, weight))
        return 1.0

    metric = masked_metric("x", judge, higher_is_better=True, link=lambda o: o[:, 0], unit="target")
    output, mask = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([True, False, True])
    metric.compute(output, torch.arange(3), mask, torch.tensor([1.0, 1.0, 0.0]))
    prediction, target, weight = seen[0]
    assert (prediction.tolist(), target.tolist(), weight.tolist()) == ([1.0], [0], [1.0])
    assert prediction.dtype == weight.dtype == torch.float64
    assert (metric.name, metric.higher_is_better, metric.unit) == ("x", True, "target")
