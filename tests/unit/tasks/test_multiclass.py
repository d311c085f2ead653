import numpy as np
import pytest
import torch
from torch.nn import functional

from polytask.errors import DataError, InvalidArgument, PolytaskWarning
from polytask.tasks import Multiclass, group_tasks

CELLS = np.array(["b", "a", "c", "a", None, "a"], dtype=object)


def test_predictions_have_labels_and_probabilities():
    task = Multiclass("t").fit(np.array([10, 2, 33]))
    predicted = task.predict(torch.tensor([[0.0, 3.0, 1.0]]))
    assert list(predicted) == ["", "probability_2", "probability_10", "probability_33"]
    assert predicted[""].tolist() == [10]
    assert predicted[""].dtype == np.int64
    expected = np.exp([0.0, 3.0, 1.0]) / np.exp([0.0, 3.0, 1.0]).sum()
    assert [predicted[f"probability_{c}"][0] for c in (2, 10, 33)] == pytest.approx(expected)


def test_numbers_come_before_texts():
    assert Multiclass("t").fit(np.array(["x", 2, "a", 1], dtype=object)).classes == (1, 2, "a", "x")


def test_classes_written_the_same_way_are_refused():
    with pytest.raises(DataError, match="written the same way"):
        Multiclass("t").fit(np.array([1, "1", 2], dtype=object))


def test_one_class_is_refused_unless_the_list_is_given():
    with pytest.raises(DataError, match="only one class in the training rows, 'a'"):
        Multiclass("t").fit(np.array(["a", "a"]))
    task = Multiclass("t", classes=("z", "a", "b"), class_weight="balanced").fit(np.array(["a"]))
    assert task.classes == ("z", "a", "b")
    assert task.class_weights == (1.0, 1.0, 1.0)
    assert torch.isfinite(task.baseline()).all()


def test_unseen_class_is_masked_and_said():
    task = Multiclass("t").fit(CELLS)
    with pytest.warns(PolytaskWarning, match="class 'd' does not occur"):
        target, mask = task.encode(np.array(["d", "c"]))
    assert (target.tolist(), mask.tolist()) == ([0, 2], [False, True])


def test_smoothing_identity():
    """(1 − e)·CE + e·mean over classes of −log p, to rounding."""
    e, task = 0.15, Multiclass("t", label_smoothing=0.15).fit(CELLS)
    logits = torch.randn(7, 3, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1, 2, 2])
    minus_log_p = -torch.log_softmax(logits, -1)
    expected = (1 - e) * minus_log_p[range(7), y] + e * minus_log_p.mean(-1)
    assert torch.allclose(task.loss(logits, y), expected, atol=1e-12, rtol=0)
    others = (minus_log_p.sum(-1) - minus_log_p[range(7), y]) / 2  # smoothing over C − 1 classes
    wrong = (1 - e) * minus_log_p[range(7), y] + e * others
    assert not torch.allclose(task.loss(logits, y), wrong, atol=1e-3)


def test_balanced_weights_as_scikit_learn_multiply_the_whole_row():
    from sklearn.utils.class_weight import compute_class_weight

    spec = Multiclass("t", class_weight="balanced", label_smoothing=0.1)
    task, plain = spec.fit(CELLS), Multiclass("t", label_smoothing=0.1).fit(CELLS)
    known = np.array([cell for cell in CELLS if cell])
    peer = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=known)
    assert task.class_weights == pytest.approx(tuple(peer), rel=1e-12)
    target, mask = task.encode(CELLS)
    weights = torch.tensor(peer, dtype=torch.float32)[target]
    assert weights[mask].mean().item() == pytest.approx(1, rel=1e-6)
    logits = torch.randn(6, 3)
    assert torch.allclose(task.loss(logits, target), plain.loss(logits, target) * weights)
    torchs = functional.cross_entropy(
        logits,
        target,
        weight=torch.tensor(peer, dtype=torch.float32),
        label_smoothing=0.1,
        reduction="none",
    )
    assert not torch.allclose(task.loss(logits, target), torchs, atol=1e-3)  # the Note's difference


def test_fusion_needs_equal_widths():
    tasks = [
        Multiclass("a").fit(CELLS),
        Multiclass("b").fit(np.array([1, 2, 3])),
        Multiclass("c").fit(np.array([1, 2, 3, 4])),
        Multiclass("d", class_weight="balanced").fit(np.array([1, 2, 3])),
        Multiclass("e", class_weight="balanced").fit(np.array([1, 2, 3, 3])),
    ]
    assert [group.indices for group in group_tasks(tasks)] == [(0, 1), (2,), (3,), (4,)]


def test_options_are_checked():
    with pytest.raises(InvalidArgument, match="classes"):
        Multiclass("t", classes=("a",))
    with pytest.raises(InvalidArgument, match="label_smoothing of target 't'"):
        Multiclass("t", label_smoothing=-0.1)


def test_description():
    task = Multiclass("t", class_weight="balanced", label_smoothing=0.1).fit(CELLS)
    assert task.describe() == (
        "multiclass, 3 classes, most frequent 'a' (share 0.6), balanced class weights, "
        "label smoothing 0.1"
    )
