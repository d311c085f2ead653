"""Mixup: one share and one permutation per batch, numbers averaged, codes chosen."""

import numpy as np
import pytest
import torch
from torch import Tensor

from polytask.data.batch import Batch
from polytask.errors import InvalidArgument
from polytask.regularization.inputs import Mixing, Mixup


def table(rows: int = 50, seed: int = 0) -> Batch:
    """Every cell names its row, so that a mixed row tells where it comes from."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(rows)
    numeric = torch.randn(rows, 3, generator=generator)
    codes = index.unsqueeze(1).expand(-1, 40)
    mask = torch.ones(rows, 1, dtype=torch.bool)
    target = torch.randn(rows, 1, generator=generator)
    return Batch({"numeric": numeric, "categories": codes}, {"y": target}, {"y": mask}, None, index)


def check_mixed(before: Batch, after: Batch, mixing: Mixing) -> None:
    """Numbers are the weighted mean; each code is of one of the two rows, in proportion."""
    share, j = mixing.share, mixing.partner
    x, mixed = before.inputs["numeric"], after.inputs["numeric"]
    torch.testing.assert_close(mixed, share * x + (1.0 - share) * x[j])
    codes, chosen = before.inputs["categories"], after.inputs["categories"]
    assert chosen.dtype == torch.int64
    own = chosen == codes
    assert bool((own | (chosen == codes[j])).all())
    moved = own[j != torch.arange(len(j))].float()
    p = mixing.share
    deviation = (p * (1.0 - p) / moved.numel()) ** 0.5
    assert abs(float(moved.mean()) - p) < 5 * deviation + 1e-6


def test_rows_are_mixed_as_it_says():
    mixup = Mixup(alpha=1.0)
    for seed in range(10):
        torch.manual_seed(seed)
        before = table()
        after, mixing = mixup(before)
        assert isinstance(mixing, Mixing)
        check_mixed(before, after, mixing)
        assert sorted(mixing.partner.tolist()) == list(range(50))
        assert isinstance(mixing.share, float)
        assert after.targets is before.targets
        assert after.masks is before.masks


def swapped_shares(before: Batch, after: Batch, mixing: Mixing) -> tuple[Batch, Mixing]:
    """Wrong: the losses get the share of the other row."""
    return after, mixing._replace(share=1.0 - mixing.share)


def partner_the_other_way(before: Batch, after: Batch, mixing: Mixing) -> tuple[Batch, Mixing]:
    """Wrong: the permutation is inverted."""
    return after, mixing._replace(partner=mixing.partner.argsort())


def averaged_codes(before: Batch, after: Batch, mixing: Mixing) -> tuple[Batch, Mixing]:
    """Wrong: the mean of two codes is a third category."""
    codes = before.inputs["categories"]
    mean = torch.lerp(codes[mixing.partner].float(), codes.float(), mixing.share).round().long()
    return after._replace(inputs={**after.inputs, "categories": mean}), mixing


def codes_of_own_row(before: Batch, after: Batch, mixing: Mixing) -> tuple[Batch, Mixing]:
    """Wrong: only the numbers are mixed."""
    inputs = {**after.inputs, "categories": before.inputs["categories"]}
    return after._replace(inputs=inputs), mixing


@pytest.mark.parametrize(
    "wrong", [swapped_shares, partner_the_other_way, averaged_codes, codes_of_own_row]
)
def test_a_wrong_mixture_is_found(wrong):
    torch.manual_seed(1)
    before = table()
    after, mixing = Mixup(alpha=5.0)(before)
    check_mixed(before, after, mixing)
    with pytest.raises(AssertionError):
        check_mixed(before, *wrong(before, after, mixing))


def shares(alpha: float, draws: int = 4000) -> np.ndarray:
    torch.manual_seed(0)
    mixup, batch = Mixup(alpha), table(2)
    return np.array([mixup(batch)[1].share for _ in range(draws)])


def test_shares_follow_the_beta_distribution():
    from scipy.stats import beta, kstest

    for alpha in (0.2, 1.0, 3.0):
        drawn = shares(alpha).clip(1e-30, 1 - 1e-7)
        assert kstest(drawn, beta(alpha, alpha).cdf).pvalue > 1e-3
        for wrong in (0.5 * alpha, 1.5 * alpha):
            assert kstest(drawn, beta(wrong, wrong).cdf).pvalue < 1e-6


def test_a_tensor_of_any_rank_is_mixed():
    torch.manual_seed(0)
    images = torch.randn(5, 2, 3, 3)
    after, mixing = Mixup(1.0)(Batch(images, {}, {}, None, torch.arange(5)))
    share = mixing.share
    expected = share * images + (1.0 - share) * images[mixing.partner]
    torch.testing.assert_close(after.inputs, expected)
    assert after.inputs.dtype == torch.float32


def test_inputs_of_the_batch_are_not_written():
    before = table()
    numeric, codes = (part.clone() for part in before.inputs.values())
    Mixup(1.0)(before)
    assert torch.equal(before.inputs["numeric"], numeric)
    assert torch.equal(before.inputs["categories"], codes)


def test_one_row_is_left_alone():
    batch = table(1)
    assert Mixup()(batch) == (batch, None)


def test_draws_come_from_the_global_generator():
    def once() -> Tensor:
        torch.manual_seed(5)
        return Mixup(1.0)(table())[0].inputs["numeric"]

    assert torch.equal(once(), once())


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_alpha_is_checked(alpha):
    with pytest.raises(InvalidArgument, match="alpha"):
        Mixup(alpha)


def test_description_names_the_strength():
    assert Mixup(0.4).describe() == "mixup, shares from Beta(0.4, 0.4)"
    assert Mixup.mixes
