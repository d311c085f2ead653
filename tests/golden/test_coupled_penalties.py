"""Penalties that couple weights end, inside torch's own optimizers, where linear algebra ends.

Coupled tasks against the Sylvester equation, start points and limited lengths against the normal
equations, singular values against an SVD. The wrong variants are run beside the right ones, and
must miss.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import torch
from scipy.linalg import solve_sylvester
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from polytask.optim.roles import Kind, ParameterInfo, Role, Selector
from polytask.regularization.objective import (
    SRIP,
    BoundPenalties,
    GraphLaplacian,
    MaxNorm,
    MeanRegularised,
    Orthogonality,
    Penalty,
    SoftSharing,
    Spectral,
    StartPoint,
    penalise,
)

ROWS, FEATURES, R = 60, 7, 0.4
TASKS = ("a", "b", "c", "d")
CHAIN = {("a", "b"): 1.0, ("b", "c"): 2.5, ("c", "d"): 0.3}
After = Callable[[], None]
Make = Callable[[Sequence[nn.Parameter]], Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.02, momentum=0.8),
    "dampening": lambda p: SGD(p, lr=0.05, momentum=0.8, dampening=0.5),
    "nesterov": lambda p: SGD(p, lr=0.02, momentum=0.8, nesterov=True),
    "adam": lambda p: Adam(p, lr=0.02),
    "fused adamw": lambda p: AdamW(p, lr=0.02, weight_decay=0.0, amsgrad=True, fused=True),
    "two rates": lambda p: SGD([{"params": p[:1]}, {"params": p[1:], "lr": 0.05}], lr=0.1),
}


@cache
def problem() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(ROWS, FEATURES))
    inputs[:, 1] += 0.5 * inputs[:, 0]
    truth = generator.normal(size=(FEATURES, len(TASKS)))
    return inputs, inputs @ truth + 0.3 * generator.normal(size=(ROWS, len(TASKS)))


def moments() -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = problem()
    return inputs.T @ inputs / ROWS, inputs.T @ targets / ROWS


def laplacian(edges: dict[tuple[str, str], float]) -> np.ndarray:
    matrix = np.zeros((len(TASKS), len(TASKS)))
    for (s, t), weight in edges.items():
        difference = np.eye(len(TASKS))[TASKS.index(s)] - np.eye(len(TASKS))[TASKS.index(t)]
        matrix += weight * np.outer(difference, difference)
    return matrix


def coupled(matrix: np.ndarray, strength: float = R) -> np.ndarray:
    """Argmin of (1/2n)‖Y − XW‖² + (r/2) tr(W L Wᵀ): G W + r W L = B."""
    gram, right = moments()
    return solve_sylvester(gram, strength * matrix, right)


CENTRE = np.eye(len(TASKS)) - 1 / len(TASKS)
PAIRS = {(s, t): 1.0 for i, s in enumerate(TASKS) for t in TASKS[i + 1 :]}
PENALTIES: dict[str, tuple[Callable[[float], Penalty], np.ndarray]] = {
    "mean": (MeanRegularised, CENTRE @ CENTRE),
    "graph": (lambda r: GraphLaplacian(r, CHAIN), laplacian(CHAIN)),
    "matrix": (
        lambda r: GraphLaplacian(
            r, torch.tensor(np.diag(np.diag(w := laplacian(CHAIN))) - w), TASKS
        ),
        laplacian(CHAIN),
    ),
    "soft": (SoftSharing, laplacian(PAIRS)),
    "soft chain": (lambda r: SoftSharing(r, CHAIN), laplacian(CHAIN)),
}


def train(
    parameters: Sequence[nn.Parameter], optimizer: Optimizer, after: After, steps: int = 1500
) -> np.ndarray:
    """Minimises (1/2n)‖Y − XW‖² + whatever `after` does; gives W, features × tasks."""
    gram, right = (torch.tensor(part) for part in moments())
    rights = right.T.split([len(p) for p in parameters])
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 if step < 0.6 * steps else 0.2)
        for p, part in zip(parameters, rights, strict=True):
            # The gradient of a quadratic function needs no backward pass.
            p.grad = (p.detach().flatten(0, -2) @ gram - part).view_as(p)
        optimizer.step()
        with torch.no_grad():
            after()
    return torch.cat([p.detach().flatten(0, -2) for p in parameters]).T.numpy()


def networks(make: Make, penalty: Penalty) -> np.ndarray:
    """A layer per task, bound by names."""
    torch.manual_seed(0)
    nets = nn.ModuleDict({t: nn.Linear(FEATURES, 1, bias=False).double() for t in TASKS})
    optimizer = make(list(nets.parameters()))
    bound = penalise(nets, [penalty], optimizer, heads=".*", tasks=TASKS)
    return train(list(nets.parameters()), optimizer, bound.prox_)


def stacked(make: Make, penalty: Penalty) -> np.ndarray:
    """All heads in one tensor."""
    weight = nn.Parameter(torch.zeros(len(TASKS), 1, FEATURES, dtype=torch.float64))
    info = ParameterInfo("h", weight, Role.HEAD, Kind.WEIGHT, frozenset(TASKS), TASKS)
    optimizer = make([weight])
    return train([weight], optimizer, BoundPenalties([penalty], [info], optimizer).prox_)


def agrees(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-8) -> bool:
    return bool(np.abs(ours - theirs).max() < tolerance)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("mean", "two rates"), ("soft", "adam"), *(("graph", name) for name in OPTIMIZERS)],
)
def test_networks_of_the_tasks_solve_the_sylvester_equation(name, optimizer):
    make, matrix = PENALTIES[name]
    assert agrees(networks(OPTIMIZERS[optimizer], make(R)), coupled(matrix))


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("name", PENALTIES)
def test_stacked_heads_solve_the_sylvester_equation(name, optimizer):
    make, matrix = PENALTIES[name]
    assert agrees(stacked(OPTIMIZERS[optimizer], make(R)), coupled(matrix))


def test_the_references_differ():
    """Else agreement would say nothing: no coupling, other graphs, twice the strength."""
    found = [coupled(m, r) for _, m in PENALTIES.values() for r in (0.0, R, 2 * R)]
    chain, mean, soft = (coupled(PENALTIES[name][1]) for name in ("graph", "mean", "soft"))
    assert not agrees(chain, mean, 1e-2)
    assert not agrees(chain, soft, 1e-2)
    assert not agrees(soft, mean, 1e-2)
    assert all(not agrees(found[i], found[i + 1], 1e-2) for i in range(0, len(found), 3))
    assert agrees(coupled(CENTRE * len(TASKS)), soft, 1e-12)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_the_un_halved_strength_misses(optimizer):
    """Σ ‖w_t − w̄‖² without the half is twice the penalty."""
    ours = stacked(OPTIMIZERS[optimizer], MeanRegularised(2 * R))
    assert not agrees(ours, coupled(CENTRE), 1e-2)
    assert agrees(ours, coupled(CENTRE, 2 * R))


def hand_made(make: Make, step_: Callable[[Tensor, float], Tensor]) -> np.ndarray:
    """A proximal step by hand on W, features × tasks, with the bare learning rate."""
    weight = nn.Parameter(torch.zeros(len(TASKS), 1, FEATURES, dtype=torch.float64))
    optimizer = make([weight])

    def after() -> None:
        view = weight.data[:, 0].T
        view.copy_(step_(view.clone(), optimizer.param_groups[0]["lr"]))

    return train([weight], optimizer, after)


def to_mean(axis: int, factor: float) -> Callable[[Tensor, float], Tensor]:
    def step(w: Tensor, rate: float) -> Tensor:
        scaled = R * rate * factor
        return (w + scaled * w.mean(dim=axis, keepdim=True)) / (1 + scaled)

    return step


def test_the_mean_over_the_wrong_axis_misses():
    make = OPTIMIZERS["sgd"]
    assert agrees(hand_made(make, to_mean(1, 1.0)), coupled(CENTRE))
    assert not agrees(hand_made(make, to_mean(0, 1.0)), coupled(CENTRE), 1e-2)


def test_the_step_without_the_factor_of_momentum_misses():
    make = OPTIMIZERS["momentum"]
    assert agrees(hand_made(make, to_mean(1, 1 / (1 - 0.8))), coupled(CENTRE))
    bare = hand_made(make, to_mean(1, 1.0))
    assert not agrees(bare, coupled(CENTRE), 1e-2)
    # It solves the problem with (1 − μ) r.
    assert agrees(bare, coupled(CENTRE, (1 - 0.8) * R))


def test_the_learning_rate_in_place_of_adams_metric_misses():
    assert not agrees(hand_made(OPTIMIZERS["adam"], to_mean(1, 1.0)), coupled(CENTRE), 1e-2)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
def test_start_points_are_ridge_around_them(optimizer):
    gram, right = moments()
    origin = torch.randn(4, 1, FEATURES, generator=torch.Generator().manual_seed(0)).double()
    ours = stacked(OPTIMIZERS[optimizer], StartPoint(R, origin=[origin]))
    start = origin[:, 0].T.numpy()
    ridge = gram + R * np.eye(FEATURES)
    assert agrees(ours, np.linalg.solve(ridge, right + R * start))
    assert not agrees(ours, np.linalg.solve(ridge, right), 1e-2)
    assert not agrees(
        ours, np.linalg.solve(ridge + R * np.eye(FEATURES), right + 2 * R * start), 0.01
    )


def limited(limit: float) -> np.ndarray:
    """Per task argmin of (1/2n)‖y − Xw‖² with ‖w‖ ≤ c: (G + μI) w = b, μ from the length."""
    gram, right = moments()

    def at(multiplier: float, b: np.ndarray) -> np.ndarray:
        return np.linalg.solve(gram + multiplier * np.eye(FEATURES), b)

    def length(w: np.ndarray) -> float:
        return float(np.sqrt(w @ w))

    columns = []
    for b in right.T:
        free = at(0.0, b)
        if length(free) > limit:
            free = at(brentq(lambda m, b=b: length(at(m, b)) - limit, 0, 1e3, xtol=1e-15), b)
        columns.append(free)
    return np.stack(columns, axis=1)


def test_some_rows_reach_the_limit_and_some_do_not():
    lengths = np.sqrt((limited(1e9) ** 2).sum(axis=0))
    assert (lengths > 2.7).any()
    assert (lengths < 2.7).any()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "fused adamw"])
def test_limited_lengths(optimizer):
    rows = Selector(group="row")
    assert agrees(stacked(OPTIMIZERS[optimizer], MaxNorm(2.7, rows)), limited(2.7))


def test_the_euclidean_projection_under_adam_misses():
    def scale(w: Tensor, _: float) -> Tensor:
        return w * (2.7 / torch.linalg.vector_norm(w, dim=0, keepdim=True)).clamp_max(1)

    assert agrees(hand_made(OPTIMIZERS["sgd"], scale), limited(2.7))
    assert not agrees(hand_made(OPTIMIZERS["adam"], scale), limited(2.7), 1e-2)


def shrunk(values: np.ndarray, name: str, strength: float) -> np.ndarray:
    """Argmin over singular values s of ½ Σ (s − a)² + λR(s)."""
    result = values.copy()
    if name == "orthogonality":
        # s − a + 4λ s (s² − 1) = 0
        for index, a in enumerate(values):
            roots = np.roots([4 * strength, 0, 1 - 4 * strength, -a])
            real = roots[np.abs(roots.imag) < 1e-9].real
            best = (real - a) ** 2 / 2 + strength * (real**2 - 1) ** 2
            result[index] = real[best.argmin()]
    else:
        # Only the largest matters, as long as it stays the largest.
        result[0] /= 1 + strength * (2 if name == "srip" else 1)
    return result


SINGULAR = {"orthogonality": Orthogonality, "srip": SRIP, "spectral": Spectral}


@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize(
    ("tall", "make"),
    [(False, lambda p: SGD(p, lr=0.05, momentum=0.5)), (True, lambda p: Adam(p, 0.01))],
)
def test_singular_values_after_training(name, tall, make):
    """½‖W − A‖² + λR(W) keeps the singular vectors of A."""
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(k, 4, generator=generator).double())[0] for k in (4, 6)
    )
    values = np.array([3.0, 1.2, 0.9, 0.7])
    target = left @ torch.tensor(values).diag() @ right.T
    target = target.T if tall else target
    torch.manual_seed(0)
    layer = nn.Linear(target.shape[1], len(target), bias=False).double()
    optimizer = make(layer.parameters())
    bound = penalise(layer, [SINGULAR[name](0.3)], optimizer)
    rate = optimizer.param_groups[0]["lr"]
    for step in range(1200):
        optimizer.param_groups[0]["lr"] = rate * (1 if step < 800 else 0.2)
        optimizer.zero_grad()
        loss = (layer.weight - target).square().sum() / 2 + bound.objective()
        loss.backward()
        optimizer.step()
        bound.prox_()
    ours = torch.linalg.svdvals(layer.weight.detach()).numpy()
    expected = np.sort(shrunk(values, name, 0.3))[::-1]
    assert agrees(ours, expected, 1e-7)
    assert not agrees(ours, np.sort(shrunk(values, name, 0.6))[::-1], 1e-2)
    assert not agrees(ours, np.sort(shrunk(values, name, 0.15))[::-1], 1e-2)
    reported = next(iter(bound.values().values()))
    exact = {
        "orthogonality": ((expected**2 - 1) ** 2).sum(),
        "srip": np.abs(expected**2 - 1).max(),
        "spectral": expected.max() ** 2 / 2,
    }
    assert reported == pytest.approx(0.3 * exact[name], rel=1e-6)
