"""Gradient noise: how much, how it fades, and that it is new every time."""

import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument
from polytask.regularization.update import GradientNoise

COUNT = 200_000
TOLERANCE = 5 * (2 / COUNT) ** 0.5
"""Five standard errors of a relative sample variance."""


def drawn(noise, updates: int, seed: int = 0) -> torch.Tensor:
    weight = nn.Parameter(torch.zeros(COUNT, dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    torch.manual_seed(seed)
    noise.add_([weight], updates)
    return weight.grad


@pytest.mark.parametrize("updates", [0, 1, 15, 999])
@pytest.mark.parametrize(("variance", "decay"), [(0.3, 0.55), (4.0, 1.0), (0.01, 0.0)])
def test_variance_follows_the_schedule(variance, decay, updates):
    found = float(drawn(GradientNoise(variance, decay), updates).var())
    wanted = variance / (1 + updates) ** decay
    assert found / wanted == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda v, d, t: (v / (1 + t) ** d) ** 2,  # the variance taken for the deviation
        lambda v, d, t: v / (1 + t) ** (2 * d),  # the deviation fades instead of the variance
        lambda v, d, t: v / (2 + t) ** d,  # counted from one
        lambda v, d, t: v,  # no fading
    ],
)
def test_the_check_of_the_variance_refuses_mutants(mutant):
    found = float(drawn(GradientNoise(0.3, 0.55), 3).var())
    assert found / mutant(0.3, 0.55, 3) != pytest.approx(1, abs=2 * TOLERANCE)


def test_noise_has_no_bias_and_is_added_to_the_gradient():
    weight = nn.Parameter(torch.zeros(COUNT))
    weight.grad = torch.full((COUNT,), 7.0)
    torch.manual_seed(0)
    GradientNoise(1.0).add_([weight], 0)
    assert float(weight.grad.mean()) == pytest.approx(7.0, abs=5 / COUNT**0.5)
    assert not weight.any()


def test_noise_is_new_each_time_and_comes_from_the_global_generator():
    noise = GradientNoise(1.0, 0.0)
    first, weight = drawn(noise, 0), nn.Parameter(torch.zeros(COUNT, dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    noise.add_([weight], 0)  # the generator has moved on
    assert abs(float(torch.corrcoef(torch.stack([first, weight.grad]))[0, 1])) < 5 / COUNT**0.5
    assert torch.equal(drawn(noise, 0), first)  # the same seed, the same noise


def test_two_parameters_get_their_own():
    weights = [nn.Parameter(torch.zeros(50)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.zeros(50)
    GradientNoise(1.0).add_(weights, 0)
    assert not torch.equal(weights[0].grad, weights[1].grad)


def test_parameters_without_a_gradient_get_none():
    weight = nn.Parameter(torch.zeros(3))
    GradientNoise(1.0).add_([weight], 0)
    assert weight.grad is None


@pytest.mark.parametrize(("variance", "decay"), [(0.0, 0.5), (-1.0, 0.5), (1.0, -0.1)])
def test_options_out_of_range(variance, decay):
    with pytest.raises(InvalidArgument, match=r"`(variance|decay)` must be"):
        GradientNoise(variance, decay)


def test_description():
    assert "0.3" in GradientNoise(0.3).describe()
