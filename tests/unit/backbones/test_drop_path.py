"""Stochastic depth: per sample, unbiased, off in evaluation, and invisible when it is zero."""

import pytest
import torch
from torch import Tensor, nn

from polytask.backbones import ResidualMLP
from polytask.backbones.layers import DropPath
from polytask.errors import InvalidArgument


def per_unit(branch: Tensor) -> Tensor:
    """Wrong: ordinary dropout."""
    return nn.functional.dropout(branch, 0.25)


def per_batch(branch: Tensor) -> Tensor:
    """Wrong: one draw for all samples."""
    return branch * nn.functional.dropout(torch.ones(()), 0.25)


def unscaled(branch: Tensor) -> Tensor:
    """Wrong: the mean shrinks."""
    return DropPath(0.25)(branch) * 0.75


def check_samples(drop) -> None:
    torch.manual_seed(0)
    branch = torch.rand(4000, 3, 2) + 0.5
    ratio = drop(branch) / branch
    first = ratio[:, 0, 0]
    torch.testing.assert_close(ratio, first.view(-1, 1, 1).expand_as(ratio))
    kept = first > 0
    torch.testing.assert_close(first[kept], torch.full_like(first[kept], 1 / 0.75))
    # Five standard errors of a share of 0.75 among 4000.
    assert abs(float(kept.float().mean()) - 0.75) < 5 * (0.75 * 0.25 / 4000) ** 0.5


def test_samples_lose_their_branch_one_by_one():
    check_samples(DropPath(0.25))


@pytest.mark.parametrize("wrong", [per_unit, per_batch, unscaled])
def test_a_wrong_drop_is_found(wrong):
    with pytest.raises(AssertionError):
        check_samples(wrong)


def test_evaluation_and_zero_are_the_identity():
    branch = torch.randn(3, 2)
    assert DropPath(0.9).eval()(branch) is branch
    assert DropPath(0.0)(branch) is branch


def test_a_dropped_branch_has_no_gradient():
    torch.manual_seed(0)
    branch = torch.ones(50, 2, requires_grad=True)
    result = DropPath(0.5)(branch)
    result.sum().backward()
    assert torch.equal(branch.grad, result.detach())


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_probability_is_checked(p):
    with pytest.raises(InvalidArgument, match="drop_path"):
        DropPath(p)
    with pytest.raises(InvalidArgument, match="drop_path"):
        ResidualMLP(2, width=8, depth=2, drop_path=p)


def test_rate_rises_linearly_to_the_last_block():
    net = ResidualMLP(2, width=8, depth=4, drop_path=0.2)
    rates = [layer.p for layer in net.modules() if isinstance(layer, DropPath)]
    assert rates == pytest.approx([0.05, 0.1, 0.15, 0.2])


def test_a_network_without_it_is_the_one_of_before():
    """No layer, no entry in the description, the same names and the same start values."""
    torch.manual_seed(0)
    plain = ResidualMLP(2, width=8, depth=2, dropout=0.0)
    assert not any(isinstance(layer, DropPath) for layer in plain.modules())
    assert "drop_path" not in plain.architecture
    torch.manual_seed(0)
    deep = ResidualMLP(2, width=8, depth=2, dropout=0.0, drop_path=0.3)
    assert deep.architecture["drop_path"] == 0.3
    assert list(plain.state_dict()) == list(deep.state_dict())
    rows = torch.randn(4, 2)
    assert torch.equal(plain.eval()(rows), deep.eval()(rows))
    assert not torch.equal(deep.train()(rows), deep.eval()(rows))


def test_dropped_blocks_are_skipped():
    """With every branch dropped only the stem is left."""
    torch.manual_seed(0)
    net = ResidualMLP(2, width=8, depth=2, dropout=0.0, drop_path=0.5)
    rows = torch.randn(64, 2)
    stem = net.last(net.stem(net.input(rows)))
    alone = (net.train()(rows) == stem).all(1)
    # Block 1 is dropped with 0.25 and block 2 with 0.5: an eighth of the samples.
    assert 1 <= int(alone.sum()) <= 20
