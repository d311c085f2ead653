import numpy as np
import pytest
import torch
from torch.nn import functional

from polytask.errors import DataError, InvalidArgument, PolytaskWarning
from polytask.tasks import Multilabel

NAN = np.nan
CELLS = np.array([[0, 1, NAN], [1, NAN, NAN], [NAN, NAN, NAN], [0, 0, 1], [1, 1, 0]])
SPEC = Multilabel("tags", columns=("x", "y", "z"))


def test_gaps_inside_rows_are_minus_one():
    target, mask = SPEC.fit(CELLS).encode(CELLS)
    assert target[0].tolist() == [0, 1, -1]
    assert mask.tolist() == [True, True, False, True, True]


def test_row_loss_is_the_mean_over_observed_labels():
    task = SPEC.fit(CELLS)
    target, _ = task.encode(CELLS)
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    cells = functional.binary_cross_entropy_with_logits(
        logits, target.clamp(min=0), reduction="none"
    )
    expected = torch.tensor(
        [cells[0, :2].mean(), cells[1, 0], 0.0, cells[3].mean(), cells[4].mean()]
    )
    assert torch.allclose(task.loss(logits, target), expected)
    assert not torch.allclose(cells.mean(-1), expected)  # gaps counted as negatives
    over_all = torch.where(target >= 0, cells, 0.0).mean(-1)
    assert not torch.allclose(over_all, expected)  # divided by all labels


def test_gaps_get_no_gradient():
    task = SPEC.fit(CELLS)
    target, _ = task.encode(CELLS)
    logits = torch.randn(5, 3, requires_grad=True)
    task.loss(logits, target).sum().backward()
    assert torch.equal(logits.grad != 0, target >= 0)


def test_columns_keep_their_own_classes():
    cells = np.array([["n", 1], ["y", 0], ["n", 0]], dtype=object)
    task = Multilabel("tags", columns=("x", "y")).fit(cells)
    predicted = task.predict(torch.tensor([[2.0, -2.0]]))
    assert list(predicted) == ["x", "probability_x", "y", "probability_y"]
    assert (predicted["x"].tolist(), predicted["y"].tolist()) == (["y"], [0])
    assert predicted["probability_x"] == pytest.approx([1 / (1 + np.exp(-2.0))])


def test_bad_columns_are_named():
    with pytest.raises(DataError, match="'y of tags' has only one class"):
        Multilabel("tags", columns=("x", "y")).fit(np.array([[0, 1], [1, 1]]))
    with pytest.raises(DataError, match="'tags' cannot be a multilabel target: its column 'y' has"):
        Multilabel("tags", columns=("x", "y")).fit(np.array([[0, 1], [1, 2], [1, 3]]))
    with pytest.raises(DataError, match="'y of tags' has no label"):
        Multilabel("tags", columns=("x", "y")).fit(np.array([[0, NAN], [1, NAN]]))
    with pytest.raises(InvalidArgument, match="columns of target 'tags'"):
        Multilabel("tags")
    with pytest.raises(InvalidArgument, match="each once"):
        Multilabel("tags", columns=("x", "x"))


def test_unseen_class_is_a_gap():
    task = SPEC.fit(CELLS)
    with pytest.warns(PolytaskWarning, match="'z of tags': class 2 does not occur"):
        target, mask = task.encode(np.array([[1, 0, 2]]))
    assert (target.tolist(), mask.tolist()) == ([[1, 0, -1]], [True])


def test_balanced_weights_have_mean_one_over_the_training_loss():
    spec = Multilabel("tags", columns=("x", "y", "z"), class_weight="balanced")
    task = spec.fit(CELLS)
    target, mask = task.encode(CELLS)
    share = (target >= 0) / (target >= 0).sum(-1, keepdim=True).clamp(min=1)
    negative, positive = torch.tensor(task.class_weights).unbind(-1)
    factors = torch.where(target > 0, positive, negative)
    assert (share * factors).sum() / mask.sum() == pytest.approx(1, rel=1e-6)
    logits = torch.randn(5, 3)
    cells = functional.binary_cross_entropy_with_logits(
        logits, target.clamp(min=0), reduction="none"
    )
    assert torch.allclose(task.loss(logits, target), (cells * factors * share).sum(-1))
    assert task.baseline() == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)


def test_description():
    spec = Multilabel("t", columns=("x", "y", "z"), class_weight="balanced", label_smoothing=0.1)
    assert spec.fit(CELLS).describe() == (
        "multilabel, 3 labels, balanced class weights, label smoothing 0.1"
    )
