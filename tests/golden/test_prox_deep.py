"""Mini-batches find nearly the right support of a deep network, `polish` exactly the right one.

The reference is proximal gradient with a small fixed step, written here: the same objective, on
all rows, from the same weights, until the first layer no longer moves.
"""

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import Tensor, linalg, nn
from torch.optim import AdamW

from polytask.optim.roles import Kind, ParameterInfo, Role, Selector
from polytask.regularization.convex.polish import Polished, polish
from polytask.regularization.objective import BoundPenalties, GroupLasso

ROWS, FEATURES, RELEVANT = 240, 16, 3
FIRST = Selector(names=r"0\.weight", group="column")
STRENGTHS = [0.02, 0.04]


@cache
def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(ROWS, FEATURES, generator=generator, dtype=torch.float64)
    truth = torch.tanh(inputs[:, 0] - inputs[:, 1]) + 0.5 * inputs[:, 2]
    noise = torch.randn(ROWS, generator=generator, dtype=torch.float64)
    return inputs, (truth + 0.5 * noise).unsqueeze(1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    return nn.Sequential(*layers).double()


def infos_of(net: nn.Module) -> list[ParameterInfo]:
    return [
        ParameterInfo(
            name,
            parameter,
            Role.BACKBONE,
            Kind.WEIGHT if parameter.ndim > 1 else Kind.BIAS,
            frozenset({"y"}),
        )
        for name, parameter in net.named_parameters()
    ]


def loss_of(net: nn.Module) -> Tensor:
    inputs, targets = rows()
    return nn.functional.mse_loss(net(inputs), targets)


@cache
def mini_batches(strength: float) -> nn.Sequential:
    """Trained by prox-AdamW on batches of 16 rows."""
    net, (inputs, targets) = network(), rows()
    optimizer = AdamW(net.parameters(), lr=5e-3, weight_decay=0.0)
    bound = BoundPenalties([GroupLasso(strength, FIRST)], infos_of(net), optimizer)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        for batch in torch.randperm(ROWS, generator=generator).split(16):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            bound.prox_()
    return net


def shrunk(weight: Tensor, threshold: float) -> Tensor:
    """Every column shorter by √p times the threshold, at most to zero."""
    threshold *= weight.shape[0] ** 0.5
    norms = linalg.vector_norm(weight, dim=0, keepdim=True)
    return weight * (1 - threshold / norms.clamp_min(1e-300)).clamp_min(0)


@cache
def reference(strength: float) -> nn.Sequential:
    """All rows, plain proximal gradient on the first layer's weights, up to 6000 steps of 0.04."""
    net = deepcopy(mini_batches(strength))
    weight = net[0].weight
    for _ in range(6000):
        [gradient] = torch.autograd.grad(loss_of(net), [weight])
        with torch.no_grad():
            moved = shrunk(weight - 0.04 * gradient, 0.04 * strength)
            still = float((moved - weight).abs().max()) < 1e-11
            weight.copy_(moved)
        if still:
            break
    return net


@cache
def polished(strength: float) -> tuple[nn.Sequential, Polished]:
    net = deepcopy(mini_batches(strength))
    found = polish(
        lambda: loss_of(net),
        infos_of(net),
        GroupLasso(strength, FIRST),
        tolerance=1e-7,
        max_iterations=5000,
    )
    return net, found


def support(net: nn.Sequential) -> Tensor:
    return net[0].weight.detach() != 0


def violation(net: nn.Sequential, strength: float) -> float:
    """How far the first layer's weights are from a fixed point of a proximal step."""
    weight = net[0].weight
    [gradient] = torch.autograd.grad(loss_of(net), [weight])
    with torch.no_grad():
        return float((shrunk(weight - gradient, strength) - weight).abs().max())


@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_polished_support_is_that_of_a_long_run_on_all_rows(strength):
    net, found = polished(strength)
    long = reference(strength)
    assert found.converged
    assert violation(net, strength) < 1e-8
    assert violation(long, strength) < 1e-8
    assert torch.equal(support(net), support(long))
    assert torch.allclose(net[0].weight, long[0].weight, atol=1e-6)
    assert 0 < int(support(net).sum()) < support(net).numel()


@pytest.mark.parametrize("strength", STRENGTHS)
def test_without_the_polish_the_support_is_another(strength):
    """The mutation: what mini-batches leave fails the same check."""
    before = mini_batches(strength)
    assert not torch.equal(support(before), support(reference(strength)))
    assert violation(before, strength) > 1e-4


def test_the_columns_that_stay_are_the_relevant_ones():
    kept = support(polished(STRENGTHS[1])[0]).any(0)
    assert kept[:RELEVANT].all()


def test_layers_without_the_penalty_stay_as_they_are():
    before, (after, _) = mini_batches(STRENGTHS[1]), polished(STRENGTHS[1])
    for name, parameter in before.named_parameters():
        same = torch.equal(parameter, after.get_parameter(name))
        assert same == (name != "0.weight")
