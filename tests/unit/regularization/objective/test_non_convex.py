"""Penalties that leave large weights alone: the global minimum for each entry, and no bias."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument, Unsupported
from polytask.regularization.objective import L1, MCP, SCAD, Penalty, penalise

PENALTIES = {"mcp": MCP, "scad": SCAD}
both = pytest.mark.parametrize("name", PENALTIES)


def slope(name: str, strength: float, shape: float, size: float) -> float:
    """p'(w) for w > 0, as the papers define the penalties."""
    if name == "mcp":
        return max(strength - size / shape, 0.0)
    if size <= strength:
        return strength
    return max(shape * strength - size, 0.0) / (shape - 1)


def level(name: str, strength: float, shape: float, size: np.ndarray) -> np.ndarray:
    """p(w): the slope is straight between its knots, so trapezia between them are exact."""
    total = np.zeros_like(size)
    for low, high in ((0.0, strength), (strength, shape * strength)):
        if name == "mcp":
            low, high = (0.0, shape * strength) if low == 0 else (0.0, 0.0)  # noqa: PLW2901
        top = np.clip(size, low, high)
        ends = [slope(name, strength, shape, x) for x in (low, high)]
        if high > low:
            at = ends[0] + (ends[1] - ends[0]) * (top - low) / (high - low)
            total += (top - low) * (ends[0] + at) / 2
    return total


@cache
def least(name: str, u: float, t: float, strength: float, shape: float) -> float:
    """The least objective: the best of a fine grid, refined around its two best points."""

    def objective(x: np.ndarray | float) -> np.ndarray:
        return (x - u) ** 2 / (2 * t) + level(name, strength, shape, np.abs(x))

    grid = np.union1d(np.linspace(-abs(u) - 0.1, abs(u) + 0.1, 1001), [0.0, u])
    values = objective(grid)
    best = values.min()
    for place in np.argsort(values)[:2]:
        ends = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
        found = minimize_scalar(objective, bounds=ends, method="bounded", options={"xatol": 1e-10})
        best = min(best, found.fun)
    return float(best)


def excess(name: str, w: float, u: float, t: float, strength: float, shape: float) -> float:
    """How much worse w is than the best."""
    here = (w - u) ** 2 / (2 * t) + float(level(name, strength, shape, np.abs(np.float64(w))))
    return here - least(name, u, t, strength, shape)


def prox(penalty: Penalty, u: Tensor, step: Tensor | float) -> Tensor:
    w = u.clone()
    penalty.prox_([w], [step])
    return w


def number(penalty: Penalty, u: float, t: float) -> float:
    return float(prox(penalty, torch.tensor([[u]], dtype=torch.float64), t))


@both
@pytest.mark.parametrize("size", [0.1, 0.5, 0.9, 1.3, 5.0])
def test_the_value_is_the_integral_of_the_slope(name, size):
    strength, shape = 0.4, 2.5
    expected, _ = quad(
        lambda x: slope(name, strength, shape, x), 0, size, points=[strength, shape * strength]
    )
    w = torch.tensor([[size], [-size]], dtype=torch.float64)
    assert float(PENALTIES[name](strength, shape).value([w])) == pytest.approx(2 * expected)
    assert level(name, strength, shape, np.array([size]))[0] == pytest.approx(expected)


@both
@settings(max_examples=100, deadline=None)
@given(
    u=st.floats(-6, 6),
    t=st.floats(0.01, 12),
    strength=st.floats(0.05, 2),
    shape=st.floats(0.1, 6),
)
def test_no_point_is_better(name, u, t, strength, shape):
    shape += 2 if name == "scad" else 0
    w = number(PENALTIES[name](strength, shape), u, t)
    assert excess(name, w, u, t, strength, shape) < 1e-9
    assert abs(w) <= abs(u)
    assert w * u >= 0


def cases() -> list[tuple[float, float]]:
    """(u, t) with steps on both sides of where the problem stops being convex."""
    steps = [0.3, 1.0, 2.4, 2.5, 2.7, 3.5, 4.0, 9.0]
    return [(u, t) for t in steps for u in [-1.03, *np.arange(0.05, 3.5, 0.15).tolist()]]


def wrong_mcp(kind: str, u: float, t: float, strength: float, gamma: float) -> float:
    size = abs(u)
    if kind == "the convex formula for every step":
        w = gamma * max(size - strength * t, 0) / (gamma - t) if size <= gamma * strength else size
    elif kind == "the limit of the convex case":
        small = gamma * max(size - strength * t, 0) / (gamma - t) if t < gamma else 0.0
        w = small if size <= gamma * strength else size
    else:
        w = max(size - strength * t, 0)
    return float(np.copysign(w, u))


def wrong_scad(kind: str, u: float, t: float, strength: float, a: float) -> float:
    size = abs(u)
    soft, line = max(size - strength * t, 0), ((a - 1) * size - a * strength * t) / (a - 1 - t)
    if kind == "the convex formula for every step":
        w = soft if size <= (1 + t) * strength else line if size <= a * strength else size
    elif kind == "the limit of the convex case":
        w = size if size > a * strength else soft if t >= a - 1 else max(soft, line)
    else:
        w = soft
    return float(np.copysign(w, u))


@both
def test_wrong_steps_are_found_out(name):
    """The same check on steps that a formula for small steps, or the lasso, would make."""
    strength, shape = 0.5, 2.6 if name == "mcp" else 3.6
    penalty = PENALTIES[name](strength, shape)
    wrong = wrong_mcp if name == "mcp" else wrong_scad

    def worst(step) -> float:
        return max(excess(name, step(u, t), u, t, strength, shape) for u, t in cases())

    assert worst(lambda u, t: number(penalty, u, t)) < 1e-9
    for kind in ("the convex formula for every step", "the limit of the convex case", "the lasso"):
        assert worst(lambda u, t, kind=kind: wrong(kind, u, t, strength, shape)) > 1e-3


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_of_a_metric_are_those_of_one_entry(name, dtype):
    generator = torch.Generator().manual_seed(0)
    u = 3 * torch.randn(40, 5, generator=generator, dtype=torch.float64).to(dtype)
    t = torch.randn(40, 5, generator=generator, dtype=torch.float64).mul(2).exp().to(dtype)
    penalty = PENALTIES[name](0.7, 3.0)
    w = prox(penalty, u, t)
    single = [
        number(penalty, a, b)
        for a, b in zip(u.flatten().tolist(), t.flatten().tolist(), strict=True)
    ]
    expected = torch.tensor(single, dtype=torch.float64).view(40, 5)
    torch.testing.assert_close(w.double(), expected, rtol=1e-4, atol=1e-5)
    assert 0 < int((w == 0).sum()) < w.numel()
    assert (w == u).any()
    assert not torch.equal(w, prox(penalty, u, float(t.median())))


@both
def test_where_the_problem_stops_being_convex_nothing_breaks(name):
    strength, shape = 0.7, 3.0
    edge = shape if name == "mcp" else shape - 1
    u = torch.linspace(-6, 6, 4001).unsqueeze(1)
    below, at, above = (
        prox(PENALTIES[name](strength, shape), u, edge + d) for d in (-1e-6, 0, 1e-6)
    )
    for w in (below, at, above):
        assert w.isfinite().all()
        assert (w.abs() <= u.abs()).all()
    torch.testing.assert_close(at, above)
    assert float(((below - at).abs() > 1e-3).float().mean()) < 0.01


@both
def test_extremes(name):
    u = torch.tensor([[0.0], [-2.0], [1e-30], [torch.nan]])
    for step in (0.0, torch.zeros_like(u)):
        assert torch.equal(prox(PENALTIES[name](0.7), u, step)[:3], u[:3])
    assert torch.equal(prox(PENALTIES[name](0.0), u, 10.0)[:3], u[:3])
    for step in (0.1, 10.0, torch.inf):
        w = prox(PENALTIES[name](0.7), u, step)
        assert w[3].isnan()
        assert (w[0], w[2]) == (0, 0)
    assert prox(PENALTIES[name](0.7), u, torch.inf)[1] == 0
    w = torch.randn(30, 4, dtype=torch.float64)
    lasso = prox(L1(0.3), w, 0.8)
    torch.testing.assert_close(prox(PENALTIES[name](0.3, 1e12), w, 0.8), lasso)


@both
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_training_ends_where_the_theory_says(name, optimizer):
    """With orthogonal inputs every weight is its own problem, solved by a step of 1."""
    make = {
        "sgd": lambda p: SGD(p, lr=0.3),
        "momentum": lambda p: SGD(p, lr=0.05, momentum=0.8),
        "adam": lambda p: Adam(p, lr=0.02),
    }[optimizer]
    torch.manual_seed(0)
    rows = 64
    inputs = torch.linalg.qr(torch.randn(rows, 8, dtype=torch.float64))[0] * rows**0.5
    truth = torch.tensor([4.0, -2.5, 1.2, 0.5, 0, 0, 0, 0], dtype=torch.float64)
    target = inputs @ truth + 0.2 * torch.randn(rows, dtype=torch.float64)
    plain = inputs.T @ target / rows
    penalty = PENALTIES[name](0.4)
    network = nn.Linear(8, 1, bias=False).double()
    nn.init.zeros_(network.weight)
    trained = make(network.parameters())
    bound = penalise(network, [penalty], trained)
    for _ in range(1500 if optimizer == "adam" else 500):
        trained.zero_grad()
        ((network(inputs)[:, 0] - target).square().mean() / 2).backward()
        trained.step()
        bound.prox_()
    found = network.weight.detach()[0]
    expected = prox(penalty, plain.unsqueeze(1), 1.0)[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    assert int((found == 0).sum()) == 4
    # What is large is what least squares say; the lasso would be 0.4 nearer to zero.
    torch.testing.assert_close(found[:2], plain[:2], atol=1e-9, rtol=1e-9)
    lasso = prox(L1(0.4), plain.unsqueeze(1), 1.0)[:2, 0]
    torch.testing.assert_close((plain[:2] - lasso).abs(), torch.full_like(lasso, 0.4))


def test_two_on_one_weight_do_not_add_up():
    network = nn.Linear(3, 2)
    optimizer = SGD(network.parameters(), lr=1)
    with pytest.raises(
        Unsupported, match=r"MCP and MCP both act on weight .* not overlap"
    ) as error:
        penalise(network, [MCP(0.1), MCP(0.2)], optimizer)
    assert "sum of the strengths" not in str(error.value)
    with pytest.raises(Unsupported, match="MCP and SCAD both act on weight"):
        penalise(network, [MCP(0.1), SCAD(0.2)], optimizer)


def test_words_and_arguments():
    assert all(word in MCP(0.25, 2).describe() for word in ("0.25", "γ = 2", "|w| = 0.5"))
    assert all(word in SCAD(0.5, 3).describe() for word in ("0.5", "a = 3", "|w| = 1.5"))
    assert (MCP(1.0).gamma, SCAD(1.0).a) == (3.0, 3.7)
    for make in (lambda: MCP(-1.0), lambda: SCAD(-1.0)):
        with pytest.raises(InvalidArgument, match="strength"):
            make()
    with pytest.raises(InvalidArgument, match="`gamma` must be positive"):
        MCP(1.0, 0.0)
    with pytest.raises(InvalidArgument, match="`a` must be above 2"):
        SCAD(1.0, 2.0)
