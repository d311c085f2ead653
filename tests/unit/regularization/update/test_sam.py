"""The climb of SAM, and the way back."""

import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument
from polytask.regularization.update import SAM


def parameter(values, gradient) -> nn.Parameter:
    made = nn.Parameter(torch.tensor(values))
    if gradient is not None:
        made.grad = torch.tensor(gradient)
    return made


def test_the_climb_has_length_rho_over_all_parameters_together():
    first, second = parameter([1.0, 2.0], [3.0, 0.0]), parameter([[5.0]], [[4.0]])
    SAM(0.5).climb_([first, second])
    assert first.tolist() == pytest.approx([1.3, 2.0])
    assert second.tolist() == [pytest.approx([5.4])]
    # A norm per tensor would move each of them by 0.5.
    assert first.tolist() != pytest.approx([1.5, 2.0])


def test_the_very_bits_come_back():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(1000) * 10.0 ** torch.randint(-9, 9, (1000,)))
    weight.grad = torch.randn(1000)
    before = weight.detach().clone()
    sam = SAM(0.7)
    saved = sam.climb_([weight])
    climbed = weight.detach().clone()
    sam.restore_(saved)
    assert torch.equal(weight, before)
    # Subtracting what was added does not: this is why a copy is kept.
    step = torch.full_like(before, 0.7) * weight.grad / torch.linalg.vector_norm(weight.grad)
    assert not torch.equal(climbed - step, before)


@pytest.mark.parametrize("gradient", [0.0, 1e-42])
def test_a_gradient_of_nothing_moves_nothing(gradient):
    """Next to nothing is nothing too: ρ/‖g‖ overflows there."""
    weight = parameter([1.0], [gradient])
    sam = SAM()
    saved = sam.climb_([weight])
    assert weight.item() == 1.0
    sam.restore_(saved)
    assert weight.item() == 1.0


def test_parameters_without_a_gradient_stay():
    frozen, moving = parameter([1.0], None), parameter([1.0], [2.0])
    saved = SAM(0.5).climb_([frozen, moving])
    assert (frozen.item(), moving.item()) == (1.0, 1.5)
    assert [p is moving for p, _ in saved] == [True]


def test_without_any_gradient_nothing_happens():
    sam = SAM()
    assert sam.climb_([parameter([1.0], None)]) == []
    sam.restore_([])


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_does_not_stay_hidden(value):
    """The loss at the worst point must not look finite when the gradient was not."""
    weight = parameter([1.0, 1.0], [value, 1.0])
    sam = SAM()
    saved = sam.climb_([weight])
    assert not torch.isfinite(weight).all()
    sam.restore_(saved)
    assert weight.tolist() == [1.0, 1.0]


def test_gradients_are_left_alone():
    weight = parameter([1.0], [2.0])
    SAM().climb_([weight])
    assert weight.grad.item() == 2.0


@pytest.mark.parametrize("rho", [0.0, -1.0, float("inf"), float("nan")])
def test_the_radius_is_positive(rho):
    with pytest.raises(InvalidArgument, match="`rho` must be positive"):
        SAM(rho)


def test_description():
    assert "0.05" in SAM().describe()
