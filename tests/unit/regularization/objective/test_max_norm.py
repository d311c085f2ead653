"""The projection on rows of limited length."""

import numpy as np
import pytest
import torch
from torch import Tensor, linalg, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument
from polytask.optim.roles import Selector
from polytask.regularization.objective import penalise
from polytask.regularization.objective.max_norm import MaxNorm


def draw(seed: int, spread: float = 1.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, s = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return u, (spread * s).exp()


def excess(w: Tensor, u: Tensor, step: Tensor | float, limit: float) -> float:
    """How far w is from the conditions of the nearest point within the limit, at the worst row.

    Inside: w = u. On the limit: (u − w)/s = μ w with one μ ≥ 0 per row.
    """
    norms = linalg.vector_norm(w, dim=1, keepdim=True)
    long = linalg.vector_norm(u, dim=1, keepdim=True) > limit
    pull = (u - w) / step
    shrink = (pull * w).sum(dim=1, keepdim=True) / norms.square()
    at_limit = (pull - shrink * w).abs() + (norms - limit).abs() + (-shrink).clamp_min(0)
    return float(torch.where(long, at_limit, (w - u).abs()).max())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [0.1, 1.0, 2.0])
def test_the_nearest_point_in_the_metric(seed, limit):
    u, s = draw(seed)
    for step in (0.3, s):
        w = u.clone()
        MaxNorm(limit).prox_([w], [step])
        assert excess(w, u, step, limit) < 1e-9
        assert (linalg.vector_norm(w, dim=1) <= limit * (1 + 1e-14)).all()


def test_wrong_points_are_not():
    """Scaling in a metric per entry is the Euclidean projection; cutting entries is none."""
    u, s = draw(0)
    norms = linalg.vector_norm(u, dim=1, keepdim=True)
    scaled = u * (1 / norms).clamp_max(1)
    assert excess(scaled, u, 0.3, 1.0) < 1e-12
    assert excess(scaled, u, s, 1.0) > 1e-2
    assert excess(u.clamp(-0.5, 0.5), u, 0.3, 1.0) > 1e-2
    assert excess(u / norms, u, 0.3, 1.5) > 1e-2


def test_against_scipy():
    from scipy.optimize import minimize

    u, s = draw(3)
    w = u.clone()
    MaxNorm(1.0).prox_([w], [s])
    for row, start, metric in zip(w.numpy(), u.numpy(), s.numpy(), strict=True):
        found = minimize(
            lambda x, t=metric, y=start: ((x - y) ** 2 / t).sum() / 2,
            0.1 * start,
            jac=lambda x, t=metric, y=start: (x - y) / t,
            constraints={"type": "ineq", "fun": lambda x: 1 - x @ x, "jac": lambda x: -2 * x},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(row, found.x, atol=1e-5)


def test_far_apart_steps_and_single_precision():
    u, s = draw(1, spread=6.0)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        w = (u * 1e3).to(dtype)
        MaxNorm(1.0).prox_([w], [s.to(dtype)])
        norms = linalg.vector_norm(w, dim=1)
        torch.testing.assert_close(norms, torch.ones_like(norms), atol=tolerance, rtol=0)


@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.1), lambda p: Adam(p, lr=0.1)])
def test_rows_stay_within_the_limit(make):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(8, 3))
    optimizer = make(net.parameters())
    bound = penalise(net, [MaxNorm(0.3)], optimizer)
    bias = net[2].bias.clone()
    for _ in range(3):
        optimizer.zero_grad()
        (net(torch.randn(6, 2, 4)) * 10).square().mean().backward()
        net[2].bias.grad = None
        optimizer.step()
        bound.prox_()
        for layer in (net[0], net[2]):
            norms = linalg.vector_norm(layer.weight.flatten(1), dim=1)
            assert (norms <= 0.3 * (1 + 1e-6)).all()
            assert (norms > 0.29).any()
    assert torch.equal(net[2].bias, bias)
    assert bound.values() == {"MaxNorm": 0.0}


def test_within_the_limit_nothing_changes():
    u, s = draw(2)
    u[0] = 0
    for step in (0.3, s, 0.0):
        w = u.clone()
        MaxNorm(100.0).prox_([w], [step])
        assert torch.equal(w, u)
    w = u.clone()
    MaxNorm(1e-3).prox_([w], [0.0])
    assert torch.equal(w, u)
    MaxNorm(1e-3).prox_([w], [s])
    assert w.isfinite().all()
    assert not w[0].any()


def test_words_and_arguments():
    assert "3.5" in MaxNorm(3.5).describe()
    assert MaxNorm(3.5).strength == 1.0
    for limit in (0.0, -1.0, float("inf")):
        with pytest.raises(InvalidArgument, match="limit"):
            MaxNorm(limit)
    with pytest.raises(InvalidArgument, match="group of weights"):
        MaxNorm(1.0, Selector())
