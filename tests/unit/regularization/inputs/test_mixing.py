"""The losses of mixed rows: form, dtype, slopes, and what is left alone."""

import pytest
import torch
from torch import Tensor

from polytask.regularization.inputs import Mixing, mixed_counts, mixed_sums
from polytask.regularization.inputs.mixing import known_pairs, pair_counts, pair_sum

ROWS = 4
EXACT = {"rtol": 1e-12, "atol": 1e-12}
# A cycle of three rows, and a row that is its own partner.
MIXING = Mixing(torch.tensor([1, 2, 0, 3]), torch.tensor([0.1, 0.7, 0.4, 0.8], dtype=torch.float64))
WEIGHTS = torch.tensor([0.5, 3.0, 1.5, 0.25], dtype=torch.float64)
weighted = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])


def draw(*tasks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Losses against both labels, and a mask."""
    generator = torch.Generator().manual_seed(0)
    own, partner = torch.rand(2, ROWS, *tasks, generator=generator, dtype=torch.float64)
    return own, partner, torch.rand(ROWS, *tasks, generator=generator) < 0.8


def factors(weights: Tensor | None) -> list[tuple[int, float, float]]:
    """Per row its partner, the weight of its own label and that of its partner's."""
    w = [1.0] * ROWS if weights is None else weights.tolist()
    pairs = enumerate(zip(MIXING.partner.tolist(), MIXING.share.tolist(), strict=True))
    return [(j, share * w[i], (1 - share) * w[j]) for i, (j, share) in pairs]


# As many tasks as rows: an axis too few or too many would broadcast in silence.
@pytest.mark.parametrize("tasks", [(), (ROWS,), (ROWS, ROWS), (0,)])
@weighted
def test_any_number_of_axes(tasks, weights):
    own, partner, mask = draw(*tasks)
    sums, counts = (torch.zeros(tasks, dtype=torch.float64) for _ in range(2))
    for i, (j, first, second) in enumerate(factors(weights)):
        both = (mask[i] & mask[j]).double()
        sums += both * (first * own[i] + second * partner[i])
        counts += both * (first + second)
    found = mixed_sums(own, partner, mask, weights, MIXING)
    assert found[0].shape == found[1].shape == tasks
    torch.testing.assert_close(found[0], sums, **EXACT)
    torch.testing.assert_close(found[1], counts, **EXACT)
    torch.testing.assert_close(mixed_counts(mask, weights, MIXING), counts, **EXACT)


@weighted
def test_slopes_are_the_weights_of_the_labels(weights):
    own, partner, mask = draw(3)
    own.requires_grad_()
    partner.requires_grad_()
    mixed_sums(own, partner, mask, weights, MIXING)[0].sum().backward()
    for i, (j, first, second) in enumerate(factors(weights)):
        both = (mask[i] & mask[j]).double()
        torch.testing.assert_close(own.grad[i], first * both, **EXACT)
        torch.testing.assert_close(partner.grad[i], second * both, **EXACT)


@weighted
def test_pairs_that_are_known_are_not_looked_up_again(weights):
    own, partner, _ = draw(1)
    mask = torch.tensor([[True], [True], [False], [True]])
    both = known_pairs(mask, MIXING)
    assert both.flatten().tolist() == [True, False, False, True]
    # Along the cycle, row 0 would lose its pair.
    assert known_pairs(both, MIXING).flatten().tolist() == [False, False, False, True]
    parts = [(i, factors(weights)[i]) for i in (0, 3)]
    expected = sum(first * own[i] + second * partner[i] for i, (_, first, second) in parts)
    count = sum(first + second for _, (_, first, second) in parts)
    torch.testing.assert_close(pair_sum(own, partner, both, weights, MIXING), expected, **EXACT)
    assert pair_counts(both, weights, MIXING).item() == pytest.approx(count, rel=1e-12)


@weighted
def test_no_pair_is_no_loss(weights):
    own, partner = torch.full((2, ROWS, 1), torch.nan)
    mask = torch.tensor([[True], [False], [True], [False]])
    mixing = MIXING._replace(partner=torch.tensor([1, 0, 3, 2]))
    sums, counts = mixed_sums(own, partner, mask, weights, mixing)
    assert (sums.tolist(), counts.tolist()) == ([0.0], [0.0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("share", [torch.float32, torch.float64])
@weighted
def test_losses_decide_the_dtype(dtype, share, weights):
    own, partner, mask = draw(2)
    mixing = MIXING._replace(share=MIXING.share.to(share))
    if weights is not None:
        weights = weights.float()
    sums, counts = mixed_sums(own.to(dtype), partner.to(dtype), mask, weights, mixing)
    assert (sums.dtype, counts.dtype) == (dtype, dtype)
    assert mixed_counts(mask, weights, mixing).dtype == share
    exact = mixed_sums(own, partner, mask, weights, MIXING)
    torch.testing.assert_close((sums.double(), counts.double()), exact, rtol=2e-3, atol=2e-3)


def test_many_rows_are_counted_exactly():
    """Beyond the whole numbers that half precision has."""
    rows = 5001
    mixing = Mixing(torch.arange(rows).roll(1), torch.full((rows,), 0.3))
    mask = torch.ones(rows, 1, dtype=torch.bool)
    assert mixed_counts(mask, None, mixing).tolist() == [5001.0]
    losses = torch.full((rows, 1), 0.5)
    sums, counts = mixed_sums(losses, losses, mask, None, mixing)
    assert (sums.tolist(), counts.tolist()) == ([2500.5], [5001.0])


@weighted
def test_arguments_are_not_written(weights):
    own, partner, mask = draw(2)
    given = [own, partner, mask, WEIGHTS, MIXING.partner, MIXING.share]
    before = [tensor.clone() for tensor in given]
    first = mixed_sums(own, partner, mask, weights, MIXING)
    mixed_counts(mask, weights, MIXING)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    for one, other in zip(first, mixed_sums(own, partner, mask, weights, MIXING), strict=True):
        assert torch.equal(one, other)


@weighted
def test_a_number_is_the_share_of_every_row(weights):
    own, partner, mask = draw(3)
    number = MIXING._replace(share=0.3)
    rows = MIXING._replace(share=torch.full((ROWS,), 0.3, dtype=torch.float64))
    found = mixed_sums(own, partner, mask, weights, number)
    expected = mixed_sums(own, partner, mask, weights, rows)
    torch.testing.assert_close(found, expected, **EXACT)
    counts = mixed_counts(mask, weights, number)
    torch.testing.assert_close(counts.double(), expected[1], rtol=1e-6, atol=0)
