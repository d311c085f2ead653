"""The climb of ASAM, and the way back."""

import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument
from polytask.regularization.update import ASAM


def parameter(values, gradient) -> nn.Parameter:
    made = nn.Parameter(torch.tensor(values))
    if gradient is not None:
        made.grad = torch.tensor(gradient)
    return made


def test_one_length_over_weights_and_biases_together():
    weight, bias = parameter([2.0, -1.0], [1.5, 0.0]), parameter([7.0], [4.0])
    asam = ASAM(0.5, eta=0.0)
    asam.leave([bias])
    asam.climb_([weight, bias])  # T g = (3, 0), 4
    assert weight.tolist() == pytest.approx([2.6, -1.0])
    assert bias.tolist() == pytest.approx([7.4])


def test_eta_moves_a_weight_that_is_zero():
    for eta, expected in ((0.0, 0.0), (0.1, 0.05)):
        weight = parameter([0.0], [3.0])
        ASAM(0.5, eta=eta).climb_([weight])
        assert weight.tolist() == pytest.approx([expected])


def test_the_very_bits_come_back_and_gradients_are_left_alone():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(1000) * 10.0 ** torch.randint(-9, 9, (1000,)))
    weight.grad = torch.randn(1000)
    before, gradient = weight.detach().clone(), weight.grad.clone()
    asam = ASAM(0.7)
    saved = asam.climb_([weight, parameter([1.0], None)])
    assert not torch.equal(weight, before)
    asam.restore_(saved)
    assert torch.equal(weight, before)
    assert torch.equal(weight.grad, gradient)


@pytest.mark.parametrize("gradient", [0.0, 1e-42])
def test_a_gradient_of_nothing_moves_nothing(gradient):
    weight = parameter([1.0], [gradient])
    ASAM().climb_([weight])
    assert weight.item() == 1.0


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_does_not_stay_hidden(value):
    weight = parameter([1.0, 1.0], [value, 1.0])
    asam = ASAM()
    saved = asam.climb_([weight])
    assert not torch.isfinite(weight).all()
    asam.restore_(saved)
    assert weight.tolist() == [1.0, 1.0]


def test_a_later_choice_replaces_an_earlier_one():
    first, second = parameter([2.0], [1.0]), parameter([2.0], [1.0])
    asam = ASAM(1.0, eta=0.0)
    asam.leave([first])
    asam.leave([second])
    asam.climb_([first, second])  # T g = 2, 1
    assert [first.item(), second.item()] == pytest.approx([2 + 4 / 5**0.5, 2 + 1 / 5**0.5])


@pytest.mark.parametrize(
    ("rho", "eta", "words"), [(0.0, 0.01, "`rho` must"), (0.5, -1.0, "`eta` must")]
)
def test_arguments(rho, eta, words):
    with pytest.raises(InvalidArgument, match=words):
        ASAM(rho, eta)


def test_description():
    assert "0.5 in units of |w| + 0.01" in ASAM().describe()
