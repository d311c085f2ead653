"""CutMix: whole original columns move, and the share is what stayed."""

import numpy as np
import pytest
import torch

from polytask.data.batch import Batch
from polytask.errors import InvalidArgument
from polytask.regularization.inputs import CutMix, Mixing

BLOCKS = [(0, 3), (1, 4, 5)]
COLUMNS = [[0, 3], [1, 4, 5], [2]]  # of the numbers; two category columns follow


def table(rows: int = 20) -> Batch:
    """Every cell holds the number of its row."""
    index = torch.arange(rows)
    inputs = {
        "numeric": index.float().unsqueeze(1).expand(-1, 6),
        "categories": index.unsqueeze(1).expand(-1, 2),
    }
    return Batch(inputs, {}, {}, None, index)


def check_copied(after: Batch, mixing: Mixing) -> int:
    """How many original columns moved; they are the same in all rows."""
    cells = torch.cat([after.inputs["numeric"], after.inputs["categories"].float()], 1)
    own = torch.arange(len(cells)).float()
    moved = 0
    for column in [*COLUMNS, [6], [7]]:
        part = cells[:, column]
        stayed = torch.equal(part, own[:, None].expand_as(part))
        came = torch.equal(part, mixing.partner.float()[:, None].expand_as(part))
        assert stayed or came
        moved += came
    assert mixing.share == 1.0 - moved / 5
    return moved


def test_original_columns_move_together():
    torch.manual_seed(0)
    cutmix = CutMix(1.0, blocks=BLOCKS)
    moved = []
    for _ in range(300):
        before = table()
        after, mixing = cutmix(before)
        moved.append(check_copied(after, mixing))
        assert sorted(mixing.partner.tolist()) == list(range(20))
        assert bool((before.inputs["categories"][:, 0] == torch.arange(20)).all())
    # m = round(5 u): 0 and 5 half as often as the others.
    expected = np.array([0.1, 0.2, 0.2, 0.2, 0.2, 0.1])
    observed = np.bincount(moved, minlength=6) / 300
    assert (np.abs(observed - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 300)).all()


def test_torn_blocks_and_wrong_shares_are_found():
    torch.manual_seed(0)
    torn = CutMix(1.0)  # every numeric column on its own
    found = 0
    for _ in range(20):
        try:
            check_copied(*torn(table()))
        except AssertionError:
            found += 1
    assert found >= 10
    while True:
        after, mixing = CutMix(1.0, blocks=BLOCKS)(table())
        if mixing.share not in (0.0, 0.5, 1.0):
            break
    for wrong in (
        mixing._replace(share=1.0 - mixing.share),
        mixing._replace(partner=mixing.partner.argsort()),
    ):
        with pytest.raises(AssertionError):
            check_copied(after, wrong)


def test_every_column_moves_equally_often():
    torch.manual_seed(1)
    cutmix, counts = CutMix(1.0), torch.zeros(8)
    for _ in range(600):
        after, mixing = cutmix(table(3))
        if mixing.partner.tolist() == [0, 1, 2]:
            continue
        cells = torch.cat([after.inputs["numeric"], after.inputs["categories"].float()], 1)
        counts += (cells != torch.arange(3.0)[:, None]).any(0)
    share = counts / counts.sum()
    assert float((share - 1 / 8).abs().max()) < 0.02


def test_the_probability_is_the_share_of_changed_batches():
    torch.manual_seed(2)
    cutmix, batch = CutMix(0.2), table(4)
    results = [cutmix(batch) for _ in range(1500)]
    changed = sum(mixing is not None for _, mixing in results) / 1500
    assert abs(changed - 0.2) < 5 * (0.16 / 1500) ** 0.5
    assert all(after is batch for after, mixing in results if mixing is None)


def test_a_plain_tensor():
    torch.manual_seed(0)
    batch = Batch(torch.arange(4.0)[:, None].expand(-1, 6), {}, {}, None, torch.arange(4))
    after, mixing = CutMix(1.0, blocks=[range(6)])(batch)
    assert mixing.share in (0.0, 1.0)
    assert after.inputs.shape == (4, 6)


def test_one_row_is_left_alone():
    batch = table(1)
    assert CutMix(1.0)(batch) == (batch, None)


@pytest.mark.parametrize("blocks", [[()], [(0, -1)], [(0, 1), (1, 2)], [(2, 2)]])
def test_blocks_are_checked(blocks):
    with pytest.raises(InvalidArgument, match="blocks"):
        CutMix(blocks=blocks)


def test_columns_of_the_batch_are_checked():
    with pytest.raises(InvalidArgument, match="columns below 6"):
        CutMix(1.0, blocks=[(5, 6)])(table())


@pytest.mark.parametrize("probability", [0.0, 1.1, float("nan")])
def test_probability_is_checked(probability):
    with pytest.raises(InvalidArgument, match="probability"):
        CutMix(probability)


def test_description_names_the_strength():
    assert CutMix(0.2).describe() == "columns of other rows in 20% of the batches"
    assert CutMix.mixes
