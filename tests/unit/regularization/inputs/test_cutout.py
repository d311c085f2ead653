"""Cutout: so many columns of every row, whole ones, without rescaling, in some of the batches."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from polytask.data.batch import Batch
from polytask.errors import InvalidArgument
from polytask.regularization.inputs import Cutout, FeatureDropout

BLOCKS = [(1, 2), (4, 5, 6)]
COLUMNS = [(1, 2), (4, 5, 6), (0,), (3,)]


def table(rows: int = 600) -> Batch:
    """Seven numeric inputs of four columns, and two embedded categories: six columns."""
    inputs = {
        "numeric": torch.randn(rows, 7).abs() + 0.5,
        "categories": torch.randint(2, 9, (rows, 2)),
    }
    targets, masks = {"y": torch.randn(rows, 1)}, {"y": torch.rand(rows, 1) < 0.8}
    return Batch(inputs, targets, masks, torch.rand(rows), torch.arange(rows))


def marks(before: Batch, after: Batch) -> Tensor:
    """Which original columns of which row are blank ``[rows, 6]``; whole, and else untouched."""
    numbers, codes = after.inputs["numeric"], after.inputs["categories"]
    blank = numbers == 0
    assert torch.equal(numbers[~blank], before.inputs["numeric"][~blank]), "rescaled"
    unseen = codes == 1
    assert torch.equal(codes[~unseen], before.inputs["categories"][~unseen])
    for block in COLUMNS:
        together = blank[:, list(block)]
        assert (together.all(1) == together.any(1)).all(), "torn"
    return torch.cat([blank[:, [block[0] for block in COLUMNS]], unseen], 1)


def check(cut, count: int = 2, draws: int = 40) -> None:
    """Every row loses `count` columns, every set of so many equally often, rows independently."""
    torch.manual_seed(0)
    before = table()
    found = []
    for _ in range(draws):
        after, mixing = cut(before)
        assert mixing is None
        same = (a is b for a, b in zip(after[1:], before[1:], strict=True))
        assert all(same), "labels, masks, weights or rows changed"
        found.append(marks(before, after))
    rows = torch.cat(found)
    assert (rows.sum(1) == count).all(), "another number of columns"
    sets = list(itertools.combinations(range(6), count))
    expected = len(rows) / len(sets)
    for chosen in sets:
        seen = float(rows[:, list(chosen)].all(1).sum())
        assert abs(seen - expected) < 5 * math.sqrt(expected), chosen
    first, second = rows[::2, 0].double(), rows[1::2, 0].double()
    p = count / 6
    assert abs(float((first * second).mean()) - p**2) < 5 * 0.5 / len(first) ** 0.5, "rows alike"


@pytest.mark.parametrize(("share", "count"), [(0.35, 2), (0.5, 3), (0.01, 1), (0.99, 5)])
def test_every_row_loses_its_own_share_of_whole_columns(share, count):
    check(Cutout(1.0, share, BLOCKS), count)


def same_for_all_rows(batch: Batch) -> tuple[Batch, None]:
    one = Cutout(1.0, 0.35, BLOCKS)(table(1))[0]
    numbers = torch.where(one.inputs["numeric"] == 0, 0.0, batch.inputs["numeric"])
    codes = torch.where(one.inputs["categories"] == 1, 1, batch.inputs["categories"])
    return batch._replace(inputs={"numeric": numbers, "categories": codes}), None


def rescaled(batch: Batch) -> tuple[Batch, None]:
    after = Cutout(1.0, 0.35, BLOCKS)(batch)[0]
    inputs = {**after.inputs, "numeric": after.inputs["numeric"] / (1 - 0.35)}
    return after._replace(inputs=inputs), None


def labels_too(batch: Batch) -> tuple[Batch, None]:
    after = Cutout(1.0, 0.35, BLOCKS)(batch)[0]
    return after._replace(targets={"y": batch.targets["y"] * 0.65}), None


@pytest.mark.parametrize(
    "wrong",
    [
        Cutout(1.0, 0.35),
        FeatureDropout(0.35),
        same_for_all_rows,
        rescaled,
        labels_too,
    ],
    ids=["torn columns", "feature dropout", "same for all rows", "rescaled", "labels too"],
)
def test_a_wrong_cut_is_found(wrong):
    with pytest.raises(AssertionError):
        check(wrong)


def test_the_loss_of_a_linear_model_is_its_mean_over_all_subsets():
    """E (w·x̃ − y)² by enumeration of the subsets; independent drops of the same rate fail."""
    torch.manual_seed(0)
    w = torch.tensor([1.0, -2.0, 0.5, 0.8], dtype=torch.float64)
    x = torch.tensor([0.7, 0.4, -1.0, 1.5], dtype=torch.float64)
    subsets = list(itertools.combinations(range(4), 2))
    losses = []
    for blank in subsets:
        kept = torch.tensor([float(i not in blank) for i in range(4)], dtype=torch.float64)
        losses.append(float((w @ (kept * x) - 1.0) ** 2))
    expected = sum(losses) / len(subsets)
    rows = x.expand(200_000, 4)
    batch = Batch(rows, {}, {}, None, torch.arange(len(rows)))

    def mean(inputs: Tensor) -> float:
        return float((inputs @ w - 1.0).square().mean())

    found = mean(Cutout(1.0, 0.5)(batch)[0].inputs)
    assert found == pytest.approx(expected, rel=0.01)
    independent = mean(rows * (torch.rand(rows.shape) < 0.5))
    assert independent != pytest.approx(expected, rel=0.01)


def test_so_many_batches_are_changed_and_the_others_are_the_same_object():
    torch.manual_seed(0)
    cutout, batch = Cutout(0.2), table(3)
    results = [cutout(batch)[0] for _ in range(1500)]
    changed = sum(result is not batch for result in results)
    assert abs(changed / 1500 - 0.2) < 5 * (0.16 / 1500) ** 0.5


def test_one_tensor_and_further_axes():
    torch.manual_seed(0)
    batch = Batch(torch.ones(50, 4, 3), {}, {}, None, torch.arange(50))
    after = Cutout(1.0, 0.25)(batch)[0].inputs
    assert after.shape == (50, 4, 3)
    assert (after.mean(2).unique() == torch.tensor([0.0, 1.0])).all()
    assert (after[:, :, 0].sum(1) == 3).all()


def test_a_table_of_one_column_is_left_alone():
    batch = Batch(torch.ones(5, 3), {}, {}, None, torch.arange(5))
    assert torch.equal(Cutout(1.0, 0.9, [(0, 1, 2)])(batch)[0].inputs, batch.inputs)


def test_the_given_batch_is_not_written_to():
    batch = table(20)
    copies = {name: part.clone() for name, part in batch.inputs.items()}
    Cutout(1.0, 0.5)(batch)
    assert all(torch.equal(batch.inputs[name], part) for name, part in copies.items())


@pytest.mark.parametrize("value", [0.0, 1.5, -0.1, float("nan")])
def test_arguments_are_checked(value):
    with pytest.raises(InvalidArgument, match="probability"):
        Cutout(value)
    with pytest.raises(InvalidArgument, match="share"):
        Cutout(0.2, value)
    with pytest.raises(InvalidArgument, match="share"):
        Cutout(0.2, 1.0)
    with pytest.raises(InvalidArgument, match="blocks"):
        Cutout(blocks=[(0, 1), (1, 2)])
    with pytest.raises(InvalidArgument, match="blocks"):
        Cutout(1.0, blocks=[(6, 7)])(table())


def test_the_description_names_both_strengths():
    words = "30% of the columns of every row blank, in 20% of the batches"
    assert Cutout(0.2, 0.3).describe() == words
    assert not Cutout.mixes


def test_parts_without_columns_and_flags_keep_their_form():
    inputs = {
        "numeric": torch.zeros(5, 0),
        "categories": torch.full((5, 2), 3),
        "flags": torch.ones(5, 2, dtype=torch.bool),
    }
    batch = Batch(inputs, {}, {}, None, torch.arange(5))
    changed = Cutout(1.0, 0.5)(batch)[0].inputs
    for name, part in inputs.items():
        assert (changed[name].shape, changed[name].dtype) == (part.shape, part.dtype)
    blank = (changed["categories"] == 1).sum(1) + (~changed["flags"]).sum(1)
    assert blank.tolist() == [2] * 5
