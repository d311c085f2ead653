"""Tasks joined by a graph: heads and whole networks."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from polytask.errors import InvalidArgument, UnknownName
from polytask.optim.roles import Kind, ParameterInfo, Role
from polytask.regularization.objective import BoundPenalties, penalise
from polytask.regularization.objective.coupling import Coupling
from polytask.regularization.objective.graph_laplacian import GraphLaplacian
from polytask.regularization.objective.mean_regularised import MeanRegularised
from polytask.regularization.objective.soft_sharing import SoftSharing

R = 0.7
NAMES = ("a", "b", "c", "d")
CHAIN = {("a", "b"): 1.0, ("b", "c"): 2.0, ("d", "c"): 0.5}
MATRIX = torch.tensor(
    [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 0.0, 0.5], [0.0, 0.0, 0.5, 0.0]]
)
SPLIT = {("a", "b"): 1.0, ("c", "d"): 3.0}
GRAPHS = {
    "chain": lambda: GraphLaplacian(R, CHAIN),
    "matrix": lambda: GraphLaplacian(R, MATRIX, NAMES),
    "split": lambda: GraphLaplacian(R, SPLIT),
    "soft chain": lambda: SoftSharing(R, CHAIN),
    "complete": lambda: SoftSharing(R),
}


def made(name: str) -> GraphLaplacian | SoftSharing:
    penalty = GRAPHS[name]()
    penalty.columns([NAMES])
    return penalty


def draw(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, s = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return u, s.exp()


def pairwise(w: Tensor, edges: dict[tuple[str, str], float]) -> Tensor:
    """(r/2) Σ a ‖w_s − w_t‖², written out."""
    parts = [
        weight * (w[:, NAMES.index(s)] - w[:, NAMES.index(t)]).square().sum()
        for (s, t), weight in edges.items()
    ]
    return R / 2 * sum(parts)


COMPLETE = {(s, t): 1.0 for i, s in enumerate(NAMES) for t in NAMES[i + 1 :]}
WRITTEN = dict.fromkeys(("chain", "matrix", "soft chain"), CHAIN) | {
    "split": SPLIT,
    "complete": COMPLETE,
}


def slope(name: str, w: Tensor, u: Tensor, step: Tensor | float) -> float:
    """The largest entry of the gradient of ½ Σ (w − u)²/s + (r/2) Σ a ‖w_s − w_t‖² at w."""
    w = w.clone().requires_grad_()
    objective = ((w - u).square() / step).sum() / 2 + pairwise(w, WRITTEN[name])
    return float(torch.autograd.grad(objective, w)[0].abs().max())


@pytest.mark.parametrize("name", GRAPHS)
def test_value(name):
    u, _ = draw()
    torch.testing.assert_close(made(name).value([u]), pairwise(u, WRITTEN[name]))
    same = u[:, :1].expand_as(u).float()
    assert 0 <= made(name).value([same]) < 1e-9


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("diagonal", [False, True])
def test_the_step_is_where_the_slope_is_zero(name, diagonal):
    u, s = draw()
    step = s if diagonal else 0.3
    w = u.clone()
    made(name).prox_([w], [step])
    assert slope(name, w, u, step) < 1e-12
    assert slope(name, u, u, step) > 1e-2


@pytest.mark.parametrize("name", ["chain", "split"])
def test_wrong_steps_are_not(name):
    """One mean step for all tasks, the transposed system, and twice the strength."""
    u, s = draw()
    penalty = made(name)
    mean = u.clone()
    penalty.prox_([mean], [s.mean(dim=1, keepdim=True).expand_as(s).contiguous()])
    assert slope(name, mean, u, s) > 1e-2
    lap = torch.autograd.functional.hessian(lambda w: pairwise(w[None], WRITTEN[name]), u[0]) / R
    eye = torch.eye(4, dtype=torch.float64)
    right, transposed = (
        torch.stack([torch.linalg.solve(m(step), row) for row, step in zip(u, s, strict=True)])
        for m in (lambda d: eye + R * d[:, None] * lap, lambda d: eye + R * lap * d[None, :])
    )
    assert slope(name, right, u, s) < 1e-12
    assert slope(name, transposed, u, s) > 1e-2
    twice = u.clone()
    penalty.prox_([twice], [0.6])
    assert slope(name, twice, u, 0.3) > 1e-2


@pytest.mark.parametrize("name", GRAPHS)
def test_one_number_or_many_are_the_same(name):
    u, _ = draw()
    one, many, other = u.clone(), u.clone(), u.clone()
    penalty = made(name)
    penalty.prox_([one], [0.3])
    penalty.prox_([many], [torch.full_like(u, 0.3)])
    torch.testing.assert_close(one, many)
    # Another rate: nothing of the first may remain.
    penalty.prox_([other], [0.9])
    assert slope(name, other, u, 0.9) < 1e-12


@pytest.mark.parametrize("name", GRAPHS)
def test_extremes(name):
    u, s = draw()
    for step in (0.0, torch.zeros_like(s)):
        w = u.clone()
        made(name).prox_([w], [step])
        assert torch.equal(w, u)
    far = made(name)
    w = u.clone()
    far.prox_([w], [1e12])
    torch.testing.assert_close(far.value([w]), torch.zeros_like(far.value([w])))


def test_single_precision_with_the_steps_of_vanishing_gradients():
    """Adam's steps reach rate/ε; the same systems in single precision would miss."""
    u, s = draw()
    u, far = u.float(), (1e5 * s).float()
    ours, expected = u.clone(), u.double()
    made("chain").prox_([ours], [far])
    made("chain").prox_([expected], [far.double()])
    assert slope("chain", expected, u.double(), far.double()) < 1e-8
    torch.testing.assert_close(ours, expected.float())
    lap = torch.autograd.functional.hessian(lambda w: pairwise(w[None], CHAIN), u[0])
    roots = far.sqrt()
    systems = torch.eye(4) + roots.unsqueeze(2) * lap * roots.unsqueeze(1)
    single = u - roots * torch.linalg.solve(systems, roots * (u @ lap))
    assert (single - expected).abs().max() > 1e-4


def test_many_rows_are_solved_in_parts(monkeypatch):
    monkeypatch.setattr("polytask.regularization.objective.quadratic._ENTRIES", 40)
    u, s = draw()
    w = u.clone()
    made("chain").prox_([w], [s])
    assert slope("chain", w, u, s) < 1e-12


def test_all_pairs_are_mean_regularised_with_as_many_tasks():
    u, s = draw()
    first, second = u.clone(), u.clone()
    made("complete").prox_([first], [s])
    MeanRegularised(R * 4).prox_([second], [s])
    torch.testing.assert_close(first, second)


def test_a_coupling_without_edges_is_nothing():
    u, s = draw()
    w = u.clone()
    none = Coupling(torch.zeros(4, 4))
    none.prox_(w, s, 1.0)
    assert torch.equal(w, u)
    assert none.energy(u) == 0


def networks() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "shared": nn.Linear(3, 3),
            **{t: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)) for t in NAMES},
        }
    )


@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.3), lambda p: Adam(p, lr=0.3)])
def test_networks_approach_each_other_layer_by_layer(make):
    nets = networks()
    optimizer = make(nets.parameters())
    bound = penalise(nets, [SoftSharing(5.0)], optimizer, tasks=NAMES)
    (summary,) = bound.describe()
    assert len(summary.parameters) == 8
    assert summary.left_out["shared.weight"] == "no other task has such weights"
    shared = nets["shared"].weight.clone()
    sum(nets[t](nets["shared"](torch.ones(2, 3))).sum() for t in NAMES).backward()
    nets["shared"].weight.grad = None
    optimizer.step()
    before = bound.values()["SoftSharing"]
    bound.prox_()
    assert bound.values()["SoftSharing"] < before / 2
    assert torch.equal(nets["shared"].weight, shared)


def heads(sizes: dict[str, int]) -> list[ParameterInfo]:
    torch.manual_seed(0)
    return [
        ParameterInfo(
            f"h.{t}", nn.Parameter(torch.randn(1, o, 3)), Role.HEAD, Kind.WEIGHT, frozenset({t})
        )
        for t, o in sizes.items()
    ]


def bind(infos: list[ParameterInfo], penalty: GraphLaplacian) -> BoundPenalties:
    return BoundPenalties([penalty], infos, SGD([i.parameter for i in infos], lr=1.0))


def test_graphs_belong_to_their_blocks():
    """Heads of two sizes; while the first block is frozen, the second keeps its own graph."""
    sizes = {"a": 1, "b": 1, "e": 1, "c": 2, "d": 2, "f": 2}
    infos = heads(sizes)
    bound = bind(infos, GraphLaplacian(1e9, {("a", "b"): 1.0, ("d", "f"): 1.0}))
    for info in infos[:3]:
        info.parameter.requires_grad_(False)
    before = {info.name: info.parameter.detach().clone() for info in infos}
    bound.prox_()
    now = {info.name: info.parameter.detach() for info in infos}
    for name in ("h.a", "h.b", "h.e", "h.c"):
        torch.testing.assert_close(now[name], before[name])
    torch.testing.assert_close(now["h.d"], now["h.f"])
    torch.testing.assert_close(now["h.d"], (before["h.d"] + before["h.f"]) / 2)


def test_columns_of_a_stacked_head_have_their_order():
    stack = nn.Parameter(torch.tensor([[[1.0]], [[5.0]], [[9.0]]]))
    order = ("c", "a", "b")
    info = ParameterInfo("h", stack, Role.HEAD, Kind.WEIGHT, frozenset(order), order)
    bind([info], GraphLaplacian(1e9, {("a", "b"): 1.0})).prox_()
    torch.testing.assert_close(stack.detach().flatten(), torch.tensor([1.0, 7.0, 7.0]))
    unordered = ParameterInfo("h", stack, Role.HEAD, Kind.WEIGHT, frozenset(order))
    with pytest.raises(InvalidArgument, match="unknown"):
        bind([unordered], GraphLaplacian(1.0, {("a", "b"): 1.0}))


def test_edges_that_cannot_be_honoured():
    infos = heads({"age": 1, "sex": 1, "income": 2, "wealth": 2})
    with pytest.raises(UnknownName, match="Did you mean 'age'"):
        bind(infos, GraphLaplacian(1.0, {("agee", "sex"): 1.0}))
    with pytest.raises(InvalidArgument, match="same size"):
        bind(infos, GraphLaplacian(1.0, {("age", "income"): 1.0}))


@pytest.mark.parametrize(
    ("edges", "tasks", "match"),
    [
        ({("a", "a"): 1.0}, (), "two different tasks"),
        ({("a", "b"): 1.0, ("b", "a"): 1.0}, (), "every pair of tasks once"),
        ({("a", "b"): -1.0}, (), "at least 0"),
        ({("a", "b"): 0.0}, (), "join at least two"),
        ({("a", "b"): 1.0}, ("a", "b"), "be empty"),
        (torch.ones(2, 2), ("a", "b"), "zeros on its diagonal"),
        (torch.tensor([[0.0, 1.0], [2.0, 0.0]]), ("a", "b"), "symmetric"),
        (torch.zeros(3, 3), ("a", "b"), "one row and column"),
        (torch.zeros(2, 2), ("a", "a"), "different names"),
    ],
)
def test_malformed_edges(edges, tasks, match):
    for kind in (GraphLaplacian, SoftSharing):
        with pytest.raises(InvalidArgument, match=match):
            kind(1.0, edges, tasks)


def test_words_and_arguments():
    assert "b–c 2" in GraphLaplacian(R, CHAIN).describe()
    assert "0.7" in GraphLaplacian(R, CHAIN).describe()
    assert "6 in all" not in GraphLaplacian(R, COMPLETE).describe()
    assert "all pairs" in SoftSharing(R).describe()
    assert "3 pairs" in SoftSharing(R, CHAIN).describe()
    for kind in (GraphLaplacian, SoftSharing):
        with pytest.raises(InvalidArgument, match="strength"):
            kind(-1.0, CHAIN)
