"""The step of the inputs, and what it leaves alone."""

import pytest
import torch

from polytask.errors import InvalidArgument
from polytask.regularization.inputs import Adversarial


def watched(values) -> torch.Tensor:
    return torch.tensor(values, requires_grad=True)


def test_every_number_moves_by_epsilon_up_the_objective():
    x = watched([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    (x * torch.tensor([[5.0, -0.01, 0.0], [-2.0, 3.0, 1e-20]])).sum().backward()
    expected = torch.tensor([[1.25, 0.75, 1.0], [-0.25, 0.25, 0.25]])
    moved = Adversarial(0.25).moved(x)
    assert torch.equal(moved, expected)
    assert not moved.requires_grad
    assert x.tolist() == [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    # A step along the gradient itself would leave the second column where it is.
    assert not torch.allclose(x + 0.25 * x.grad / x.grad.norm(), expected, atol=1e-2)


def test_codes_and_unused_numbers_stay():
    x, unused = watched([[1.0]]), watched([[2.0]])
    codes = torch.tensor([[3]])
    x.sum().backward()
    moved = Adversarial(0.5).moved({"numeric": x, "more": unused, "categories": codes})
    assert moved["numeric"].tolist() == [[1.5]]
    assert moved["more"].tolist() == [[2.0]]
    assert moved["categories"] is codes or torch.equal(moved["categories"], codes)
    assert moved["categories"].dtype == torch.int64


@pytest.mark.parametrize(
    "inputs",
    [
        {"categories": torch.tensor([[1]])},
        torch.zeros(2, 0, requires_grad=True),
        torch.zeros(2, 3),
    ],
    ids=["codes", "no columns", "not watched"],
)
def test_without_numbers_there_is_nothing_to_move(inputs):
    with pytest.raises(InvalidArgument, match="`inputs` must hold numbers that require gradients"):
        Adversarial(0.1).moved(inputs)


@pytest.mark.parametrize(
    ("epsilon", "share", "words"),
    [(0.0, 0.5, "`epsilon` must"), (0.1, 0.0, "`share` must"), (0.1, 1.0, "`share` must")],
)
def test_arguments(epsilon, share, words):
    with pytest.raises(InvalidArgument, match=words):
        Adversarial(epsilon, share)


def test_description():
    assert "40% of the loss on inputs moved by 0.1" in Adversarial(0.1, 0.6).describe()
