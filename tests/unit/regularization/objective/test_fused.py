"""Heads of ordered tasks that change in few places."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument, UnknownName, Unsupported
from polytask.optim.roles import Kind, ParameterInfo, Role
from polytask.regularization.objective import (
    BoundPenalties,
    Fused,
    GraphLaplacian,
    MeanRegularised,
    penalise,
)
from polytask.regularization.objective.chains import chains
from polytask.regularization.objective.total_variation import pull_together_

STRENGTH = 0.7
ORDER = ("d", "a", "c", "b", "e")
PLACES = [3, 0, 2, 1, 4]


def draw(seed: int = 0, *, rows: int = 60, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, t = (torch.randn(rows, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    # Rows of all sizes, so that some become constant and some keep all their steps.
    return u * torch.logspace(-1, 1.5, rows, dtype=torch.float64)[:, None], (spread * t).exp()


def prox(u: Tensor, step: Tensor | float, strength: float = STRENGTH) -> Tensor:
    """Of `Fused`, with the columns of the tasks not in their order."""
    penalty = Fused(strength, ORDER)
    penalty.columns([("a", "b", "c", "d", "e")])
    w = u.clone()
    penalty.prox_([w], [step])
    return w


def violation(w: Tensor, pull: Tensor, strength: float = STRENGTH) -> float:
    """How far `pull` is from being a sub-gradient of λ Σ |w_k − w_{k+1}| at w.

    It is one if it is the difference of numbers within ±λ, one between each two neighbours and 0
    at both ends, that are ±λ where there is a step.
    """
    w, pull = w[:, PLACES], pull[:, PLACES]
    force, jumps = pull.cumsum(dim=1), w[:, :-1] - w[:, 1:]
    inner = force[:, :-1]
    parts = [
        force[:, -1].abs().max(),
        (inner.abs() - strength).clamp(min=0).max(),
        (inner - strength * jumps.sign())[jumps != 0].abs().max(),
    ]
    return float(max(parts))


def test_value_is_the_sum_of_the_steps():
    penalty = Fused(2.0, ["c", "a", "b"])
    penalty.columns([("a", "b", "x", "c")])
    assert float(penalty.value([torch.tensor([[1.0, 5.0, 99.0, -1.0]])])) == 2.0 * (2 + 4)


@pytest.mark.parametrize("step", [0.3, 3.0, "metric", "wide metric"])
def test_the_step_is_where_the_slope_is_zero(step):
    u, t = draw(spread=3.0 if step == "wide metric" else 1.0)
    metric = t if isinstance(step, str) else step
    w = prox(u, metric)
    assert violation(w, (u - w) / metric) < 1e-11 * (1e5 if step == "wide metric" else 1)
    joined = (w[:, PLACES].diff(dim=1) == 0).sum(dim=1)
    assert {0, 4} <= set(joined.tolist())
    assert len(set(joined.tolist())) >= 4


def test_wrong_steps_are_not():
    """Columns as they stand, one pair after the other, the mean of the metric, twice λ."""
    u, t = draw()

    def wrong(w: Tensor, step: Tensor | float) -> float:
        return violation(w, (u - w) / step)

    unordered = u.clone()
    pull_together_(unordered, 0.3, STRENGTH)
    assert wrong(unordered, 0.3) > 0.1
    pairs = u.clone()
    for first, second in pairwise(PLACES):
        middle = pairs[:, [first, second]].mean(dim=1)
        half = (pairs[:, first] - pairs[:, second]) / 2
        kept = half.sign() * (half.abs() - STRENGTH * 0.3).clamp(min=0)
        pairs[:, first], pairs[:, second] = middle + kept, middle - kept
    assert wrong(pairs, 0.3) > 0.1
    assert wrong(prox(u, t.mean(dim=1, keepdim=True).expand_as(t)), t) > 0.1
    assert wrong(prox(u, 0.3, 2 * STRENGTH), 0.3) > 0.1


@pytest.mark.parametrize("length", [2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_against_a_general_solver(length, seed):
    """The dual: z within ±λ that brings √t Dᵀz nearest to u/√t; then w = u − t Dᵀz."""
    generator = np.random.default_rng(seed)
    u, t = generator.normal(size=(5, length)), np.exp(generator.normal(size=(5, length)))
    ours = torch.from_numpy(u.copy())
    pull_together_(ours, torch.from_numpy(t), 0.4)
    differences = np.diff(np.eye(length), axis=0)
    for w, x, metric in zip(ours.numpy(), u, t, strict=True):
        root = np.sqrt(metric)
        dual = lsq_linear(
            root[:, None] * differences.T, x / root, (-0.4, 0.4), method="bvls", tol=1e-15
        )
        np.testing.assert_allclose(w, x - metric * (differences.T @ dual.x), atol=1e-10)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_single_precision_at_any_scale(scale):
    u, t = draw(spread=3.0)
    found = prox((u * scale).float(), (t * scale).float()).double()
    largest = u.abs().amax(dim=1, keepdim=True)
    assert float(((found / scale - prox(u, t)) / largest).abs().max()) < 1e-5


def test_many_rows_are_solved_in_parts(monkeypatch):
    u, t = draw()
    expected = [prox(u, 0.3), prox(u, t)]
    monkeypatch.setattr("polytask.regularization.objective.total_variation._ENTRIES", 70)
    assert torch.equal(prox(u, 0.3), expected[0])
    assert torch.equal(prox(u, t), expected[1])


def test_extremes():
    u, t = draw()
    assert torch.equal(prox(u, 0.0), u)
    assert torch.equal(prox(u, t, 0.0), u)
    torch.testing.assert_close(prox(u, torch.full_like(t, 0.3)), prox(u, 0.3), rtol=0, atol=0)
    torch.testing.assert_close(prox(u, 0.3).sum(dim=1), u.sum(dim=1))
    far = prox(u, t, 1e9)
    mean = (u / t).sum(dim=1, keepdim=True) / (1 / t).sum(dim=1, keepdim=True)
    torch.testing.assert_close(far, mean.expand_as(u), rtol=1e-5, atol=1e-5)
    assert (far == far[:, :1]).all()
    equal = torch.ones(3, 5)
    assert torch.equal(prox(equal, 0.3), equal)


def test_only_neighbours_that_stand_together_are_joined():
    penalty = Fused(1e9, ["a", "b", "c", "d"])
    penalty.columns([("d", "c", "x", "b", "a"), ("a", "c", "d"), ("b", "d")])
    blocks = [torch.tensor([[1.0, 2.0, 9.0, 3.0, 6.0]]), torch.tensor([[1.0, 2.0, 4.0]])]
    blocks.append(torch.tensor([[1.0, 2.0]]))
    penalty.prox_(blocks, [1.0, torch.ones(1, 3), 1.0])
    assert [block.tolist() for block in blocks] == [
        [[3.0, 3.0, 9.0, 3.0, 3.0]],
        [[1.0, 3.0, 3.0]],
        [[1.0, 2.0]],
    ]


@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.5), lambda p: Adam(p, lr=0.5)])
def test_heads_in_one_tensor_and_in_many_are_the_same(make):
    torch.manual_seed(0)
    stacked = nn.Parameter(torch.randn(3, 2, 4))
    apart = [nn.Parameter(stacked.detach()[t : t + 1].clone()) for t in range(3)]
    names = ("a", "b", "c")
    together = [ParameterInfo("h", stacked, Role.HEAD, Kind.WEIGHT, frozenset(names), names)]
    single = [
        ParameterInfo(f"h{t}", w, Role.HEAD, Kind.WEIGHT, frozenset({t}), (t,))
        for t, w in zip(names, apart, strict=True)
    ]
    for infos in (together, single):
        parameters = [info.parameter for info in infos]
        optimizer = make(parameters)
        bound = BoundPenalties([Fused(0.6, ["b", "a", "c"])], infos, optimizer)
        torch.cat(parameters).pow(4).sum().backward()
        optimizer.step()
        bound.prox_()
    assert torch.equal(torch.cat(apart), stacked)
    equal = torch.stack([stacked[1] == stacked[0], stacked[0] == stacked[2]])
    assert equal.any()
    assert not equal.all()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_training_ends_at_the_optimum(optimizer):
    """The gradient of the loss is a sub-gradient; the squared form spreads the steps."""
    make = {
        "sgd": lambda p: SGD(p, lr=0.1),
        "momentum": lambda p: SGD(p, lr=0.02, momentum=0.8),
        "adam": lambda p: Adam(p, lr=0.02),
    }[optimizer]
    torch.manual_seed(0)
    names = [f"month_{number}" for number in range(5)]
    truth = torch.randn(6, 1, dtype=torch.float64).repeat(1, 5)
    truth[0, 3:] += 2.0  # one feature changes its meaning once
    rows = torch.randn(5, 40, 6, dtype=torch.float64)
    labels = torch.einsum("trf,ft->tr", rows, truth)
    labels += 0.3 * torch.randn(5, 40, dtype=torch.float64)

    def trained(penalty) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        heads = nn.ModuleDict({name: nn.Linear(6, 1, bias=False) for name in names}).double()
        stepped = make(heads.parameters())
        bound = penalise(heads, [penalty], stepped, heads=".*", tasks=names)

        def slopes() -> Tensor:
            stepped.zero_grad()
            for name, x, y in zip(names, rows, labels, strict=True):
                ((heads[name](x)[:, 0] - y).square().mean() / 2).backward()
            return torch.stack([heads[name].weight.grad[0] for name in names], dim=1)

        for _ in range(1500 if optimizer == "adam" else 500):
            slopes()
            stepped.step()
            bound.prox_()
        weights = torch.stack([heads[name].weight.detach()[0] for name in names], dim=1)
        return weights, slopes()

    weights, slopes = trained(Fused(0.25, names))
    force, jumps = -slopes.cumsum(dim=1), weights[:, :-1] - weights[:, 1:]
    assert float(force[:, -1].abs().max()) < 1e-7
    assert float(force.abs().max()) <= 0.25 + 1e-7
    assert float((force[:, :-1] - 0.25 * jumps.sign())[jumps != 0].abs().max()) < 1e-7
    assert (jumps[0] != 0).tolist() == [False, False, True, False]
    assert int((jumps == 0).sum()) == 23
    chain = dict.fromkeys(pairwise(names), 1.0)
    smooth, _ = trained(GraphLaplacian(0.25, chain))
    assert not (smooth[:, :-1] == smooth[:, 1:]).any()


def test_refusals():
    nets = nn.ModuleDict({name: nn.Linear(3, 1 + (name in "cd")) for name in "abcd"})
    nets["e"] = nn.Linear(3, 4)
    optimizer = SGD(nets.parameters(), lr=1)

    def bind(*penalties):
        return penalise(nets, penalties, optimizer, heads=".*", tasks=list("abcde"))

    with pytest.raises(InvalidArgument, match=r"neighbours whose weights have the same size.*'c'"):
        bind(Fused(1.0, ["a", "b", "c", "d"]))
    with pytest.raises(UnknownName, match=r"'e' does not exist.* if their sizes are equal"):
        bind(Fused(1.0, ["a", "b", "e"]))
    with pytest.raises(UnknownName, match=r"`order` 'bb' does not exist. Did you mean 'b'"):
        bind(Fused(1.0, ["a", "bb"]))
    with pytest.raises(Unsupported, match=r"Fused and MeanRegularised both act on a.weight"):
        bind(Fused(1.0, ["a", "b"]), MeanRegularised(1.0))
    with pytest.raises(InvalidArgument, match="tasks are unknown"):
        chains(("a", "b"), [("", "")])
    with pytest.raises(InvalidArgument, match=r"one set of weights of each size.*\['a'\]"):
        chains(("a", "b"), [("a", "b", "a")])


@pytest.mark.parametrize("order", ["ab", ["a"], ["a", "a"], ["a", 1], []])
def test_what_is_no_order_is_refused(order):
    with pytest.raises(InvalidArgument, match="`order` must be a list of at least two different"):
        Fused(1.0, order)


def test_words_and_arguments():
    assert "a → b: 0.7 Σ" in Fused(STRENGTH, ["a", "b"]).describe()
    assert "f → …: 1 Σ" in Fused(1.0, list("abcdefg")).describe()
    with pytest.raises(InvalidArgument, match="strength"):
        Fused(-1.0, ["a", "b"])
