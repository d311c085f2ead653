"""Dropout: the mask is Bernoulli, entries are independent, the expectation is exact."""

import math

import pytest
import torch
from torch.nn import functional

from polytask.backbones import Dropout
from polytask.backbones.dropout import dropout

ENTRIES = 400_000
SIGMAS = 5


def kept_by(drop, p, entries=ENTRIES):
    torch.manual_seed(0)
    return (drop(torch.ones(entries), p) != 0).double()


def is_bernoulli(drop, p) -> bool:
    """The rate of every place in a draw of 64 bits, and of pairs of entries at small distances."""
    kept, keep = kept_by(drop, p), 1 - p
    places = kept.view(-1, 4).mean(0)
    spread = math.sqrt(keep * p / (ENTRIES / 4))
    right = bool((places - keep).abs().max() < SIGMAS * spread)
    for distance in (1, 2, 3, 4, 8, 64):
        pairs = (kept[distance:] * kept[:-distance]).mean()
        error = math.sqrt(keep**2 * (1 - keep**2) * 3 / ENTRIES)
        right = right and abs(float(pairs) - keep**2) < SIGMAS * error
    return right


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.77])
def test_masks_are_bernoulli(p):
    assert is_bernoulli(dropout, p)
    assert is_bernoulli(functional.dropout, p)


def with_draws(draw):
    """The same construction on other random bits."""

    def drop(features, p):
        numbers = draw(features.numel() // 4).view(torch.int16).flatten()
        return features * (numbers < round(65536 * (1 - p)) - 32768)

    return drop


WRONG = {
    "63 bits": lambda n: torch.empty(n, dtype=torch.int64).random_(),
    "31 bits, twice": lambda n: torch.empty(2 * n, dtype=torch.int32).random_(),
    "the same bits four times": lambda n: (
        torch.empty(n, 1, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:, :1]
    ).repeat(1, 4),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_bits_that_are_not_random_are_found(wrong):
    right = with_draws(lambda n: torch.randint(-(2**63), 2**63 - 1, (n,)))
    assert is_bernoulli(right, 0.5)
    assert not is_bernoulli(with_draws(wrong), 0.5)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_kept_entries_are_divided_by_the_probability_of_the_mask(p, dtype):
    torch.manual_seed(0)
    values = dropout(torch.ones(4096, dtype=dtype), p).unique()
    kept = round(65536 * (1 - p))
    assert values.dtype is dtype
    assert set(values.tolist()) == {0.0, float(torch.tensor(65536 / kept, dtype=dtype))}
    assert abs(kept / 65536 - (1 - p)) <= 2**-17


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 3, 5), (0, 4)])
def test_any_shape(shape):
    torch.manual_seed(0)
    features = torch.ones(shape).requires_grad_()
    result = dropout(features, 0.5)
    assert result.shape == features.shape
    (slope,) = torch.autograd.grad(result.sum(), features)
    # At ones, what an entry became is its slope.
    assert torch.equal(slope, result.detach())


def test_strides_do_not_matter():
    features = torch.randn(6, 4)
    torch.manual_seed(1)
    expected = dropout(features, 0.5)
    for same in (features.T.contiguous().T, features.repeat(1, 2)[:, :4]):
        torch.manual_seed(1)
        assert torch.equal(dropout(same, 0.5), expected)
    torch.manual_seed(1)
    one = dropout(torch.ones(1, 4).expand(6, 4), 0.5)
    assert torch.equal(one != 0, expected != 0)


@pytest.mark.parametrize("p", [0.0, 1e-9, 1.0, 1 - 1e-9])
def test_at_the_ends_it_is_torchs_own(p):
    features = torch.randn(50)
    torch.manual_seed(2)
    expected = functional.dropout(features, p)
    torch.manual_seed(2)
    assert torch.equal(dropout(features, p), expected)


def test_masks_do_not_depend_on_threads():
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(kept_by(dropout, 0.3))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_under_vmap_and_compiled():
    features = torch.ones(3, 500)
    drop = torch.func.vmap(lambda row: dropout(row, 0.5), randomness="different")
    torch.manual_seed(4)
    rows = drop(features)
    assert set(rows.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(rows[0], rows[1])
    same = torch.func.vmap(lambda row: dropout(row, 0.5), randomness="same")(features)
    assert torch.equal(same[0], same[1])
    compiled = torch.compile(lambda x: dropout(x, 0.5), backend="eager", fullgraph=True)
    torch.manual_seed(5)
    found = compiled(features)
    torch.manual_seed(5)
    assert torch.equal(found, dropout(features, 0.5))


def test_the_layer_is_idle_in_evaluation_and_follows_its_probability():
    layer, features = Dropout(0.5), torch.ones(1000)
    assert layer.eval()(features) is features
    assert isinstance(layer, torch.nn.Dropout)
    layer.train()
    torch.manual_seed(3)
    half = int((layer(features) == 0).sum())
    layer.p = 0.1
    few = int((layer(features) == 0).sum())
    assert 400 < half < 600
    assert 50 < few < 160
    with pytest.raises(ValueError, match="dropout probability"):
        Dropout(1.5)
