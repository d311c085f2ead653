"""The backbone without layers."""

import pytest
import torch

from polytask.backbones.identity import Identity
from polytask.errors import InvalidArgument


def test_numbers_pass_unchanged():
    rows = torch.randn(5, 3)
    assert torch.equal(Identity(3)(rows), rows)
    assert torch.equal(Identity(3)({"numeric": rows}), rows)


def test_every_level_has_a_column_and_unseen_ones_none():
    layer = Identity(0, [5, 300])
    codes = torch.tensor([[0, 0], [1, 1], [2, 2], [4, 299]])
    hot = layer({"categories": codes})
    assert hot.shape == (4, 4 + 299)
    assert [row.nonzero().flatten().tolist() for row in hot] == [[0, 4], [], [1, 5], [3, 302]]
    assert set(hot.unique().tolist()) == {0.0, 1.0}


def test_no_parameters_and_no_state():
    layer = Identity(2, [4])
    assert not list(layer.parameters())
    assert not layer.state_dict()


def test_the_description_builds_an_equal_one():
    layer = Identity(2, [4, 7])
    arguments = dict(layer.architecture)
    assert arguments.pop("backbone") == "identity"
    inputs = {"numeric": torch.randn(6, 2), "categories": torch.tensor([[0, 1], [3, 6]] * 3)}
    assert torch.equal(Identity(**arguments)(inputs), layer(inputs))


@pytest.mark.parametrize("arguments", [(0,), (-1,), (1, [2])])
def test_refused(arguments):
    with pytest.raises(InvalidArgument):
        Identity(*arguments)


def test_another_width_is_refused():
    with pytest.raises(InvalidArgument, match="have shape"):
        Identity(2)(torch.zeros(3, 4))
    with pytest.raises(InvalidArgument, match="hold 'categories'"):
        Identity(2, [4])(torch.zeros(3, 2))
