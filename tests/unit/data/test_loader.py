"""A user's own DataLoader."""

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from polytask.data import LoaderBatches
from polytask.errors import InvalidArgument, Unsupported
from polytask.tasks import Multiclass, Regression, group_tasks

ROWS = 23
X = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
Y = torch.where(torch.arange(ROWS) % 4 == 0, float("nan"), X[:, 0])
COLOURS = np.array(["red", "green", "blue"], dtype=object)[np.arange(ROWS) % 3]
TASKS = (Regression("y").fit(Y.numpy()), Multiclass("c").fit(COLOURS))
GROUPS = group_tasks(TASKS)


class Items(Dataset):
    def __init__(self, masks=False):
        self.masks = masks

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        item = {"image": X[index]}, {"y": Y[index], "c": COLOURS[index]}
        return (*item, {"c": bool(index % 2)}) if self.masks else item


def rows_of(windows):
    return [batch.rows.tolist() for window, _ in windows for batch in window]


def test_items_become_batches():
    batches = LoaderBatches(DataLoader(Items(), batch_size=4, shuffle=True), GROUPS)
    seen = []
    for window, counts in batches.windows(2):
        for batch in window:
            rows = batch.rows
            seen += rows.tolist()
            assert torch.equal(batch.inputs["image"], X[rows])
            assert batch.masks["y"][:, 0].tolist() == (~Y[rows].isnan()).tolist()
            assert batch.targets["c"][:, 0].tolist() == [
                TASKS[1].classes.index(COLOURS[row]) for row in rows
            ]
        assert counts["y"].item() == sum(int(batch.masks["y"].sum()) for batch in window)
    assert sorted(seen) == list(range(ROWS))
    assert seen != sorted(seen)
    assert batches.num_windows(2) == 3
    assert batches.num_rows == ROWS


def test_masks_take_labels_away():
    batches = LoaderBatches(DataLoader(Items(masks=True), batch_size=5), GROUPS)
    (batch,) = list(batches.epoch())
    assert batch.masks["c"][:, 0].tolist() == [bool(k % 2) for k in range(ROWS)]
    assert batch.rows.tolist() == list(range(ROWS))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_in_the_middle(own, accumulate):
    def fresh(seed):
        generator = torch.Generator().manual_seed(seed) if own else None
        loader = DataLoader(Items(), batch_size=3, shuffle=True, generator=generator)
        return LoaderBatches(loader, GROUPS, seed=0)

    original = fresh(7)
    first = rows_of(original.windows(accumulate))
    windows = original.windows(accumulate)
    head = rows_of([next(windows), next(windows)])
    state = original.state_dict()
    rest = rows_of(windows)
    following = rows_of(original.windows(accumulate))
    assert first != head + rest
    other = fresh(8)
    other.load_state_dict(state)
    assert rows_of(other.windows(accumulate)) == rest
    assert rows_of(other.windows(accumulate)) == following


def test_global_randomness_is_not_used():
    batches = LoaderBatches(DataLoader(Items(), batch_size=4, shuffle=True), GROUPS)
    state = torch.get_rng_state()
    list(batches.windows(1))
    list(batches.epoch())
    assert torch.equal(torch.get_rng_state(), state)


class Tutorial(Dataset):
    """What tutorials write: a pandas row."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return pandas.DataFrame({"a": [1, 2, 3], "y": [4, 5, 6]}).iloc[index]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Tutorial(), "pandas Series"),
        (TensorDataset(X), "tuple of 1"),
        (TensorDataset(X, Y), "targets of the data set's first item are Tensor"),
        ([X[0], X[1]], "is a Tensor"),
        ([([1.0, 2.0], {"y": 1.0, "c": "red"})], "inputs of the data set's first item are list"),
        ([(X[0], {"y": 1.0})], "lack the task 'c'; they have ['y']"),
        ([(X[0], {"y": 1.0, "c": "red"}, [True])], "masks of the data set's first item are list"),
    ],
)
def test_the_first_item_is_checked(data, words):
    with pytest.raises(InvalidArgument) as error:
        LoaderBatches(DataLoader(data, batch_size=2), GROUPS)
    assert words in str(error.value)
    if "lack" not in words:
        assert "An item must be (inputs, targets)" in str(error.value)


def test_the_tutorials_row_fails_without_the_check():
    with pytest.raises(TypeError, match="default_collate"):
        next(iter(DataLoader(Tutorial(), batch_size=2)))


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


def test_streams_are_refused():
    with pytest.raises(Unsupported, match="resumed"):
        LoaderBatches(DataLoader(Stream(), batch_size=2), GROUPS)
    with pytest.raises(Unsupported, match="batch_size"):
        LoaderBatches(DataLoader(Items(), batch_size=None), GROUPS)
