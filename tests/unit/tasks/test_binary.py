import numpy as np
import pytest
import torch
from torch.nn import functional

from polytask.errors import DataError, InvalidArgument, PolytaskWarning, UnknownName
from polytask.tasks import Binary, group_tasks

CELLS = np.array(["no", "yes", "no", None, "no"], dtype=object)


@pytest.mark.parametrize(
    ("cells", "negative", "positive", "kind"),
    [
        ([0, 1, 0], 0, 1, np.int64),
        ([0.0, 1.0, np.nan], 0, 1, np.int64),  # integers with gaps arrive as floats
        ([True, False], False, True, np.bool_),
        ([0.5, 2.5], 0.5, 2.5, np.float64),
        (["b", "a"], "a", "b", np.object_),
        ([-1, 1], -1, 1, np.int64),
    ],
)
def test_labels_keep_their_type(cells, negative, positive, kind):
    task = Binary("t").fit(np.array(cells))
    assert task.classes == (negative, positive)
    assert type(task.classes[1]) is type(positive)
    predicted = task.predict(torch.tensor([[-1.0], [2.0]]))
    assert predicted[""].tolist() == [negative, positive]
    assert predicted[""].dtype == kind
    assert predicted[f"probability_{positive}"] == pytest.approx(1 / (1 + np.exp([1.0, -2.0])))


def test_positive_class_can_be_chosen():
    task = Binary("t", positive="no").fit(CELLS)
    assert task.classes == ("yes", "no")
    assert task.encode(CELLS)[0].tolist() == [1, 0, 1, 0, 1]
    assert "probability_no" in task.predict(torch.zeros(1, 1))
    with pytest.raises(UnknownName, match=r"positive of target 't'` 'noo' does not exist. Did you"):
        Binary("t", positive="noo").fit(CELLS)
    assert Binary("t", positive="1").fit(np.array([0, 1])).classes == (0, 1)


def test_three_classes_and_one_class_are_refused():
    with pytest.raises(DataError, match=r"it has 3 classes \('a', 'b', 'c'\).*'t:multiclass'"):
        Binary("t").fit(np.array(["a", "b", "c"]))
    with pytest.raises(DataError, match="'t' has only one class in the training rows, 1;"):
        Binary("t").fit(np.array([1, 1, np.nan]))


def test_given_classes_allow_a_missing_one_and_refuse_strangers():
    task = Binary("t", classes=("no", "yes")).fit(np.array(["no", "no"]))
    assert torch.isfinite(task.baseline()).all()
    assert task.baseline().item() < -10
    with pytest.raises(DataError, match="class 'maybe', which is not among its given classes"):
        Binary("t", classes=("no", "yes")).fit(np.array(["no", "maybe"]))


def test_unseen_class_is_masked_and_said():
    task = Binary("t").fit(CELLS)
    with pytest.warns(PolytaskWarning, match=r"'t': class 'maybe' does not occur.*; 2 labels"):
        target, mask = task.encode(np.array(["maybe", "yes", "maybe", None], dtype=object))
    assert mask.tolist() == [False, True, False, False]
    assert target.tolist() == [0, 1, 0, 0]


def test_label_smoothing_is_the_identity_of_the_multiclass_one():
    smoothed, plain = Binary("t", label_smoothing=0.2).fit(CELLS), Binary("t").fit(CELLS)
    z, y = torch.randn(9, 1, dtype=torch.float64), torch.tensor([0.0, 1, 0, 1, 1, 0, 0, 1, 1])
    both = (plain.loss(z, y) + plain.loss(z, 1 - y)) / 2
    expected = 0.8 * plain.loss(z, y) + 0.2 * both
    assert torch.allclose(smoothed.loss(z, y), expected, atol=1e-12, rtol=0)
    two = torch.cat([torch.zeros_like(z), z], -1)
    peer = functional.cross_entropy(two, y.long(), reduction="none", label_smoothing=0.2)
    assert torch.allclose(smoothed.loss(z, y), peer, atol=1e-12, rtol=0)
    wrong = plain.loss(z, y * 0.8)  # smoothed towards 0 instead of one half
    assert not torch.allclose(wrong, peer, atol=1e-3)


def test_balanced_weights_multiply_the_loss():
    cells = np.array([0, 0, 0, 1])
    balanced, plain = Binary("t", class_weight="balanced").fit(cells), Binary("t").fit(cells)
    assert balanced.class_weights == (pytest.approx(4 / 6), pytest.approx(2.0))
    z, y = torch.randn(4, 1), torch.tensor([0.0, 0, 0, 1])
    factors = torch.tensor([4 / 6, 4 / 6, 4 / 6, 2.0])
    assert torch.allclose(balanced.loss(z, y), plain.loss(z, y) * factors)
    assert factors.mean() == 1
    assert balanced.baseline().item() == pytest.approx(0, abs=1e-6)
    assert plain.baseline().item() == pytest.approx(np.log(1 / 3))


def test_fusion():
    other = np.array([1, 0, 0, 0, 0])
    tasks = [
        Binary("a").fit(CELLS),
        Binary("b").fit(other),
        Binary("c", class_weight="balanced").fit(CELLS),
        Binary("d", class_weight="balanced").fit(other),
        Binary("e", label_smoothing=0.1).fit(CELLS),
    ]
    groups = [group.indices for group in group_tasks(tasks)]
    assert groups == [(0, 1), (2,), (3,), (4,)]


def test_options_are_checked():
    with pytest.raises(InvalidArgument, match="label_smoothing of target 't'"):
        Binary("t", label_smoothing=1.0)
    with pytest.raises(InvalidArgument, match="classes"):
        Binary("t", classes=(1,))
    with pytest.raises(ValueError, match="Did you mean 'balanced'"):
        Binary("t", class_weight="balance")


def test_description():
    task = Binary("t", class_weight="balanced", label_smoothing=0.1).fit(CELLS)
    assert task.describe() == (
        "binary, positive class 'yes' (share 0.25), balanced class weights, label smoothing 0.1"
    )
