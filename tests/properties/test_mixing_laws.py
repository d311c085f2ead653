"""Laws of mixed losses, each with variants that are subtly wrong and must break it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from polytask.regularization.inputs import Mixing, mixed_counts, mixed_sums
from polytask.regularization.inputs.parts import mix_parts
from polytask.tasks.base import masked_sums

seeds = st.integers(0, 2**31 - 1)
fast = settings(max_examples=60, deadline=None)


def draw(seed: int, rows: int = 7, tasks: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor, Mixing]:
    """Losses, mask, row weights, and a mixing with shares that are multiples of 1/64."""
    generator = torch.Generator().manual_seed(seed)
    own, partner = torch.rand(2, rows, tasks, generator=generator, dtype=torch.float64)
    mask = torch.rand(rows, tasks, generator=generator) < 0.6
    weights = 0.5 + torch.rand(rows, generator=generator, dtype=torch.float64)
    shares = torch.randint(0, 65, (rows,), generator=generator) / 64
    return own, partner, mask, weights, Mixing(torch.randperm(rows, generator=generator), shares)


def by_hand(own, partner, mask, weights, mixing):
    """The definition, cell by cell."""
    sums, counts = torch.zeros(2, own.shape[1], dtype=own.dtype)
    for row, (j, share) in enumerate(
        zip(mixing.partner.tolist(), mixing.share.tolist(), strict=True)
    ):
        a = share * (1.0 if weights is None else float(weights[row]))
        b = (1.0 - share) * (1.0 if weights is None else float(weights[j]))
        for task in range(own.shape[1]):
            if mask[row, task] and mask[j, task]:
                sums[task] += a * own[row, task] + b * partner[row, task]
                counts[task] += a + b
    return sums, counts


def same(ours, other, *, exactly: bool = False) -> None:
    tolerance = {"rtol": 0.0, "atol": 0.0} if exactly else {"rtol": 1e-12, "atol": 1e-12}
    for a, b in zip(ours, other, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def definition(mixed, seed: int) -> None:
    own, partner, mask, weights, mixing = draw(seed)
    for w in (None, weights):
        expected = by_hand(own, partner, mask, w, mixing)
        same(mixed(own, partner, mask, w, mixing), expected)


def own_share_of_one_is_the_plain_sum(mixed, seed: int) -> None:
    own, partner, mask, weights, mixing = draw(seed)
    whole = mixing._replace(share=torch.ones_like(mixing.share))
    both, full = mask & mask[mixing.partner], torch.ones_like(mask)
    for w in (None, weights):
        same(mixed(own, partner, full, w, whole), masked_sums(own, full, w), exactly=True)
        same(mixed(own, partner, mask, w, whole), masked_sums(own, both, w), exactly=True)


def swapping_the_two_rows_changes_nothing(mixed, seed: int) -> None:
    own, partner, mask, weights, mixing = draw(seed)
    j = mixing.partner
    swapped = Mixing(j.argsort(), 1.0 - mixing.share)
    for w, v in ((None, None), (weights, weights[j])):
        straight = mixed(own, partner, mask, w, mixing)
        same(mixed(partner, own, mask[j], v, swapped), straight, exactly=w is None)


def gaps_never_contribute(mixed, seed: int) -> None:
    own, partner, mask, weights, mixing = draw(seed)
    expected = mixed(own, partner, mask, weights, mixing)
    both = mask & mask[mixing.partner]
    for junk in (1e6, torch.inf, torch.nan):
        own_junk = torch.where(both, own, junk).requires_grad_()
        partner_junk = torch.where(both, partner, junk).requires_grad_()
        sums, counts = mixed(own_junk, partner_junk, mask, weights, mixing)
        same((sums.detach(), counts), expected, exactly=True)
        sums.sum().backward()
        for losses in (own_junk, partner_junk):
            assert bool((losses.grad[~both] == 0).all())


LAWS = [
    definition,
    own_share_of_one_is_the_plain_sum,
    swapping_the_two_rows_changes_nothing,
    gaps_never_contribute,
]


@pytest.mark.parametrize("law", LAWS)
@given(seeds)
@fast
def test_mixed_sums_obey(law, seed):
    law(mixed_sums, seed)


@given(seeds)
@fast
def test_counts_alone_are_those_of_the_sums(seed):
    own, partner, mask, weights, mixing = draw(seed)
    for w in (None, weights):
        counts = mixed_sums(own, partner, mask, w, mixing)[1]
        assert torch.equal(mixed_counts(mask, w, mixing).to(counts.dtype), counts)
        assert not torch.equal(mixed_counts(torch.ones_like(mask), w, mixing), counts.float())


def either_label(own, partner, mask, weights, mixing):
    """One label is enough."""
    either = mask | mask[mixing.partner]
    kept = torch.where(either, mixing.share[:, None] * own, 0.0)
    kept = kept + torch.where(either, (1.0 - mixing.share[:, None]) * partner, 0.0)
    return kept.sum(0), either.to(own.dtype).sum(0)


def each_label_alone(own, partner, mask, weights, mixing):
    """Every label that exists counts with its share."""
    w = torch.ones(len(own), dtype=own.dtype) if weights is None else weights
    a = torch.where(mask, (mixing.share * w)[:, None], 0.0)
    b = torch.where(mask[mixing.partner], ((1 - mixing.share) * w[mixing.partner])[:, None], 0.0)
    return (a * own.nan_to_num() + b * partner.nan_to_num()).sum(0), (a + b).sum(0)


def own_mask_only(own, partner, mask, weights, mixing):
    return mixed_sums(own, partner, mask, weights, mixing._replace(partner=torch.arange(len(own))))


def product_with_mask(own, partner, mask, weights, mixing):
    """Times zero, which NaN survives."""
    both = (mask & mask[mixing.partner]).to(own.dtype)
    w = torch.ones(len(own), dtype=own.dtype) if weights is None else weights
    a, b = mixing.share * w, (1.0 - mixing.share) * w[mixing.partner]
    cells = both * (a[:, None] * own + b[:, None] * partner)
    return cells.sum(0), (both * (a + b)[:, None]).sum(0)


def weights_of_own_row(own, partner, mask, weights, mixing):
    both = mask & mask[mixing.partner]
    share = mixing.share[:, None]
    return masked_sums(share * own + (1.0 - share) * partner, both, weights)


def shares_exchanged(own, partner, mask, weights, mixing):
    return mixed_sums(own, partner, mask, weights, mixing._replace(share=1.0 - mixing.share))


@pytest.mark.parametrize(
    ("wrong", "law"),
    [
        (either_label, definition),
        (either_label, gaps_never_contribute),
        (each_label_alone, definition),
        (each_label_alone, gaps_never_contribute),
        (each_label_alone, own_share_of_one_is_the_plain_sum),
        (own_mask_only, gaps_never_contribute),
        (product_with_mask, gaps_never_contribute),
        (weights_of_own_row, definition),
        (weights_of_own_row, swapping_the_two_rows_changes_nothing),
        (shares_exchanged, definition),
        (shares_exchanged, own_share_of_one_is_the_plain_sum),
    ],
)
def test_a_wrong_variant_breaks(wrong, law):
    broken = 0
    for seed in range(10):
        try:
            law(wrong, seed)
        except AssertionError:
            broken += 1
    assert broken > 5


@given(seeds)
@fast
def test_the_mixed_input_is_the_same_from_both_rows(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(6, 4, generator=generator)
    partner = torch.randperm(6, generator=generator)
    share = float(torch.rand((), generator=generator))
    straight = mix_parts(rows, partner, share)
    torch.testing.assert_close(straight, mix_parts(rows[partner], partner.argsort(), 1.0 - share))
    torch.testing.assert_close(straight, share * rows + (1.0 - share) * rows[partner])
    assert torch.equal(mix_parts(rows, partner, 1.0), rows)
    assert torch.equal(mix_parts(rows, partner, 0.0), rows[partner])


def class_losses(seed: int):
    """Logits, class codes and a mixing; and the mixed loss as the cross-entropy of soft labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    codes = torch.randint(0, 5, (8,), generator=generator)
    mixing = Mixing(
        torch.randperm(8, generator=generator),
        0.25 + 0.5 * torch.rand(8, generator=generator, dtype=torch.float64),
    )
    share = mixing.share[:, None]
    one_hot = nn.functional.one_hot(codes, 5)
    soft = share * one_hot + (1.0 - share) * one_hot[mixing.partner]
    expected = -(soft * logits.log_softmax(1)).sum()
    return logits, codes, mixing, expected


def mixed_class_loss(logits, codes, mixing) -> Tensor:
    def loss(target):
        return nn.functional.cross_entropy(logits, target, reduction="none")[:, None]

    mask = torch.ones(len(codes), 1, dtype=torch.bool)
    return mixed_sums(loss(codes), loss(codes[mixing.partner]), mask, None, mixing)[0][0]


def loss_of_mixed_codes(logits, codes, mixing) -> Tensor:
    """The mean of class 0 and class 2 is not class 1."""
    mean = mixing.share * codes + (1.0 - mixing.share) * codes[mixing.partner]
    return nn.functional.cross_entropy(logits, mean.round().long(), reduction="sum")


@given(seeds)
@fast
def test_losses_of_classes_are_mixed_not_their_codes(seed):
    logits, codes, mixing, expected = class_losses(seed)
    torch.testing.assert_close(mixed_class_loss(logits, codes, mixing), expected)


def test_mixing_codes_of_classes_fails():
    for seed in range(5):
        logits, codes, mixing, expected = class_losses(seed)
        wrong = loss_of_mixed_codes(logits, codes, mixing)
        with pytest.raises(AssertionError):
            torch.testing.assert_close(wrong, expected)


@given(seeds)
@fast
def test_mixing_numbers_instead_of_losses_has_another_loss_but_the_same_gradient(seed):
    """l (f − y)² + (1 − l)(f − z)² = (f − l y − (1 − l) z)² + l (1 − l)(y − z)²."""
    own, partner, _, _, mixing = draw(seed)
    y, z, f = own, partner, torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]
    share = mixing.share[:, None].to(own.dtype)
    mask = torch.ones_like(own, dtype=torch.bool)
    sums, _ = mixed_sums((f - y).square(), (f - z).square(), mask, None, mixing)
    of_mean = (f - share * y - (1.0 - share) * z).square()
    torch.testing.assert_close(sums, (of_mean + share * (1.0 - share) * (y - z).square()).sum(0))
