"""Resident batches: every row once, counts first, resumable anywhere."""

import pytest
import torch

from polytask.data import Batch, ResidentBatches
from polytask.data.batches import AT_ONCE, label_counts
from polytask.errors import InvalidArgument

ROWS = 53


def table(rows=ROWS, *, weighted=False, tensor=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator)
    y = torch.randn(rows, 3, generator=generator)
    tags = torch.randn(rows, 1, 5, generator=generator)
    masks = {
        "y": torch.rand(rows, 3, generator=generator) < 0.6,
        "tags": torch.ones(rows, 1, dtype=torch.bool),
    }
    inputs = x if tensor else {"numeric": x, "categories": torch.arange(2 * rows).view(rows, 2)}
    weights = torch.rand(rows, generator=generator) if weighted else None
    return Batch(inputs, {"y": y, "tags": tags}, masks, weights, torch.arange(rows) + 100)


def flat(windows):
    """Everything that the windows hold, as a list of tensors."""
    found = []
    for batches, counts in windows:
        for batch in batches:
            parts = [batch.inputs] if isinstance(batch.inputs, torch.Tensor) else []
            parts = parts or list(batch.inputs.values())
            weights = [] if batch.row_weights is None else [batch.row_weights]
            found += [*parts, *batch.targets.values(), *batch.masks.values(), *weights, batch.rows]
        found += list(counts.values())
    return found


def equal(first, second):
    return len(first) == len(second) and all(map(torch.equal, first, second))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_every_row_once_with_its_own_labels(weighted, tensor, accumulate):
    whole = table(weighted=weighted, tensor=tensor)
    batches = ResidentBatches(whole, batch_size=7)
    seen = []
    for window, counts in batches.windows(accumulate):
        assert len(window) <= accumulate
        for batch in window:
            assert len(batch.rows) <= 7
            places = batch.rows - 100
            seen += places.tolist()
            x = batch.inputs if tensor else batch.inputs["numeric"]
            assert torch.equal(x, (whole.inputs if tensor else whole.inputs["numeric"])[places])
            for name in ("y", "tags"):
                assert torch.equal(batch.targets[name], whole.targets[name][places])
                assert torch.equal(batch.masks[name], whole.masks[name][places])
        rows = torch.cat([batch.rows for batch in window]) - 100
        ones = torch.ones(ROWS) if whole.row_weights is None else whole.row_weights
        for name, count in counts.items():
            expected = (whole.masks[name].float() * ones[:, None])[rows].sum(0)
            torch.testing.assert_close(count, expected)
            assert count.dtype == torch.float32
    assert sorted(seen) == list(range(ROWS))
    assert seen != list(range(ROWS))


def test_the_last_partial_window_is_kept():
    batches = ResidentBatches(table(), batch_size=7)
    sizes = [[len(batch.rows) for batch in window] for window, _ in batches.windows(3)]
    assert sizes == [[7, 7, 7], [7, 7, 7], [7, 4]]
    assert batches.num_windows(3) == 3
    assert batches.num_windows(1) == len(list(batches.windows(1))) == 8


def test_accumulation_sees_the_same_rows():
    one = ResidentBatches(table(), batch_size=7, seed=3)
    three = ResidentBatches(table(), batch_size=7, seed=3)
    rows = [batch.rows for window, _ in one.windows(1) for batch in window]
    again = [batch.rows for window, _ in three.windows(3) for batch in window]
    assert equal(rows, again)


def test_epochs_differ_seeds_decide_and_order_can_be_kept():
    batches = ResidentBatches(table(), batch_size=7, seed=1)
    first, second = flat(batches.windows(1)), flat(batches.windows(1))
    assert not equal(first, second)
    assert equal(first, flat(ResidentBatches(table(), batch_size=7, seed=1).windows(1)))
    assert not equal(first, flat(ResidentBatches(table(), batch_size=7, seed=2).windows(1)))
    plain = ResidentBatches(table(), batch_size=7, shuffle=False)
    rows = torch.cat([window[0].rows for window, _ in plain.windows(1)])
    assert rows.tolist() == list(range(100, 100 + ROWS))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_anywhere_gives_the_same_bits(weighted, accumulate):
    def fresh(seed):
        return ResidentBatches(table(weighted=weighted), batch_size=5, seed=seed)

    original = fresh(4)
    list(original.windows(accumulate))
    windows = original.windows(accumulate)
    states, rest = [original.state_dict()], []
    for window in windows:
        states.append(original.state_dict())
        rest.append(window)
    following = flat(original.windows(accumulate))
    for done, state in enumerate(states):
        other = fresh(99)
        other.load_state_dict(state)
        assert equal(flat(other.windows(accumulate)), flat(rest[done:]))
        assert equal(flat(other.windows(accumulate)), following)


def test_a_state_is_a_copy():
    batches = ResidentBatches(table(), batch_size=5)
    state = batches.state_dict()
    before = state["generator"].clone()
    list(batches.windows(1))
    assert torch.equal(state["generator"], before)
    assert state["epoch"] == 0
    assert batches.state_dict()["epoch"] == 1


def test_more_windows_than_are_cut_at_once():
    rows = 2 * AT_ONCE + 3
    batches = ResidentBatches(table(rows, weighted=True), batch_size=1)
    seen = [int(window[0].rows) for window, _ in batches.windows(1)]
    assert sorted(seen) == list(range(100, 100 + rows))
    other = ResidentBatches(table(rows, weighted=True), batch_size=1)
    windows = other.windows(1)
    for _ in range(AT_ONCE + 1):
        next(windows)
    again = ResidentBatches(table(rows, weighted=True), batch_size=1)
    again.load_state_dict(other.state_dict())
    assert [int(window[0].rows) for window, _ in again.windows(1)] == seen[AT_ONCE + 1 :]


def test_epoch_is_in_table_order_and_moves_nothing():
    batches = ResidentBatches(table(), batch_size=7)
    list(batches.windows(1))
    before = batches.state_dict()
    rows = torch.cat([batch.rows for batch in batches.epoch()])
    assert rows.tolist() == list(range(100, 100 + ROWS))
    after = batches.state_dict()
    assert torch.equal(before.pop("generator"), after.pop("generator"))
    assert before == after


def test_the_table_is_not_changed_and_global_randomness_not_used():
    whole, other = table(), table()
    state = torch.get_rng_state()
    list(ResidentBatches(whole, batch_size=7).windows(2))
    assert equal(flat([((whole,), {})]), flat([((other,), {})]))
    assert torch.equal(torch.get_rng_state(), state)


def test_counts_of_the_window_are_not_means_of_counts():
    batches = ResidentBatches(table(), batch_size=20)
    window, counts = next(batches.windows(3))
    sums = torch.stack([label_counts(batch)["y"] for batch in window])
    assert torch.equal(sums.sum(0), counts["y"])
    assert not torch.equal(sums.mean(0), counts["y"])


def test_an_empty_group_of_masks_and_bad_sizes():
    bare = table()._replace(targets={}, masks={})
    (window, counts), *_ = ResidentBatches(bare, batch_size=7).windows(1)
    assert window[0].targets == counts == {}
    for size in (0, -1):
        with pytest.raises(InvalidArgument, match="batch_size"):
            ResidentBatches(table(), batch_size=size)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_batches_say_which_groups_lack_no_label(shuffle, accumulate):
    """A property of the table: a batch without a gap by chance does not claim it."""
    whole = table()
    whole.masks["y"][:] = True
    whole.masks["y"][50, 2] = False
    batches = ResidentBatches(whole, batch_size=7, shuffle=shuffle)
    found = [batch for window, _ in batches.windows(accumulate) for batch in window]
    assert len(found) == 8
    assert all(batch.complete == {"tags"} for batch in [*found, *batches.epoch(), batches.table])
    assert sum(bool(batch.masks["y"].all()) for batch in found) == 7
    whole.masks["y"][:] = True
    assert ResidentBatches(whole, batch_size=7).table.complete == {"tags", "y"}
