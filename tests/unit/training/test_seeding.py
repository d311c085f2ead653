"""The random scope gives back what it borrowed and continues where it stopped."""

import torch

from polytask.training.seeding import RandomScope


def test_global_state_comes_back_even_after_an_error():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    try:
        with RandomScope(0):
            torch.rand(5)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_a_saved_position_continues_the_stream():
    with RandomScope(5):
        torch.rand(3)
        whole = torch.rand(4)
    with RandomScope(5) as scope:
        torch.rand(3)
        saved = scope.state_dict()
    with RandomScope(5) as scope:
        scope.load_state_dict(saved)
        assert torch.equal(torch.rand(4), whole)


def test_seeds_differ():
    with RandomScope(1):
        first = torch.rand(4)
    with RandomScope(2):
        second = torch.rand(4)
    assert not torch.equal(first, second)
