"""The pull of the tasks to their mean."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument
from polytask.optim.roles import Kind, ParameterInfo, Role
from polytask.regularization.objective import BoundPenalties, penalise
from polytask.regularization.objective.mean_regularised import MeanRegularised

R = 0.7


def draw(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, s = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return u, s.exp()


def slope(w: Tensor, u: Tensor, step: Tensor | float, strength: float = R) -> float:
    """The largest entry of the gradient of ½ Σ (w − u)²/s + value at w, by autograd."""
    w = w.clone().requires_grad_()
    objective = ((w - u).square() / step).sum() / 2 + MeanRegularised(strength).value([w])
    return float(torch.autograd.grad(objective, w)[0].abs().max())


def prox(u: Tensor, step: Tensor | float) -> Tensor:
    w = u.clone()
    MeanRegularised(R).prox_([w], [step])
    return w


def test_value_is_half_the_squared_deviations():
    u, _ = draw()
    expected = R / 2 * sum((u[:, t] - u.mean(dim=1)).square().sum() for t in range(4))
    torch.testing.assert_close(MeanRegularised(R).value([u]), expected)


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_step_is_where_the_slope_is_zero(diagonal):
    u, s = draw()
    step = s if diagonal else 0.3
    assert slope(prox(u, step), u, step) < 1e-13


def test_wrong_steps_are_not():
    """The plain mean in a metric per entry, the mean over entries, an un-halved strength."""
    u, s = draw()
    plain = (u + R * s * u.mean(dim=1, keepdim=True)) / (1 + R * s)
    assert slope(plain, u, s) > 1e-2
    entries = (u + R * 0.3 * u.mean(dim=0, keepdim=True)) / (1 + R * 0.3)
    assert slope(entries, u, 0.3) > 1e-2
    assert slope(prox(u, 0.3), u, 0.3, 2 * R) > 1e-2


def test_one_number_or_many_are_the_same():
    u, _ = draw()
    torch.testing.assert_close(prox(u, torch.full_like(u, 0.3)), prox(u, 0.3))
    torch.testing.assert_close(prox(u, 0.3).mean(dim=1), u.mean(dim=1))


def test_extremes():
    u, s = draw()
    assert torch.equal(prox(u, 0.0), u)
    assert torch.equal(prox(u, torch.zeros_like(s)), u)
    far = prox(u, 1e12)
    torch.testing.assert_close(far, u.mean(dim=1, keepdim=True).expand_as(u))
    equal = torch.ones(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(MeanRegularised(R).value([equal]), equal)
    assert not gradient.any()


@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.5), lambda p: Adam(p, lr=0.5)])
def test_heads_in_one_tensor_and_in_many_are_the_same(make):
    torch.manual_seed(0)
    stacked = nn.Parameter(torch.randn(3, 2, 4))
    apart = [nn.Parameter(stacked.detach()[t : t + 1].clone()) for t in range(3)]
    names = ("a", "b", "c")
    together = [
        ParameterInfo("h", stacked, Role.HEAD, Kind.WEIGHT, frozenset(names), names),
    ]
    single = [
        ParameterInfo(f"h{t}", w, Role.HEAD, Kind.WEIGHT, frozenset({t}), (t,))
        for t, w in zip(names, apart, strict=True)
    ]
    for infos in (together, single):
        parameters = [info.parameter for info in infos]
        optimizer = make(parameters)
        bound = BoundPenalties([MeanRegularised(0.9)], infos, optimizer)
        objective = torch.cat(parameters).pow(4).sum()
        objective.backward()
        optimizer.step()
        bound.prox_()
    torch.testing.assert_close(torch.cat(apart), stacked)


def test_one_task_is_refused():
    net = nn.ModuleDict({"a": nn.Linear(3, 1)})
    with pytest.raises(InvalidArgument, match="weights that several tasks have"):
        penalise(net, [MeanRegularised(1.0)], SGD(net.parameters(), lr=1), heads=".*", tasks=["a"])


def test_words_and_arguments():
    assert "0.7" in MeanRegularised(R).describe()
    with pytest.raises(InvalidArgument, match="strength"):
        MeanRegularised(-1.0)
