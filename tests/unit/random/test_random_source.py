"""Owned generators: their state is a buffer on the host."""

import copy

import torch
from torch import nn

from polytask._random import RandomSource


def test_the_same_numbers_as_torchs_own_generator():
    source, own = RandomSource(5), torch.Generator().manual_seed(5)
    for _ in range(3):
        assert torch.equal(source.uniform(4), torch.rand(4, generator=own, dtype=torch.float64))
        expected = torch.randn(2, 3, generator=own, dtype=torch.float64)
        assert torch.equal(source.normal(2, 3), expected)


def test_a_copy_of_the_buffer_takes_draws_back():
    source = RandomSource(1)
    source.uniform(10)
    saved = source.state.clone()
    first = source.normal(5)
    source.state.copy_(saved)
    assert torch.equal(source.normal(5), first)
    assert not torch.equal(source.normal(5), first)


def test_the_state_resumes_in_a_fresh_instance_of_another_seed():
    source, other = RandomSource(1), RandomSource(2)
    source.uniform(700)  # more than the generator makes at a time
    other.load_state_dict(source.state_dict(), strict=True)
    assert torch.equal(source.uniform(3), other.uniform(3))


def test_copies_draw_on_their_own():
    source = RandomSource(1)
    twin = copy.deepcopy(source)
    first = source.uniform(3)
    source.uniform(3)
    assert torch.equal(twin.uniform(3), first)


def test_it_stays_on_the_host_in_its_dtype():
    module = nn.ModuleDict({"source": RandomSource(1), "layer": nn.Linear(2, 2)})
    expected = RandomSource(1).uniform(3)
    module.half().to("meta")
    source = module["source"]
    assert source.state.device.type == "cpu"
    assert source.state.dtype == torch.uint8
    assert torch.equal(source.uniform(3), expected)


def test_reset_starts_again_at_the_seed():
    source = RandomSource(9)
    first = source.uniform(3)
    source.reset()
    assert torch.equal(source.uniform(3), first)
