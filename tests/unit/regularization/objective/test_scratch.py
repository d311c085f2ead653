"""Memory that proximal steps reuse, and what must never be seen of it."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, linalg, nn
from torch.optim import Adam

from polytask.optim.metric import proximal_steps
from polytask.optim.roles import Selector
from polytask.regularization.objective import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    JointFeatures,
    Penalty,
    SparseGroupLasso,
    penalise,
)
from polytask.regularization.objective.layout import same_memory
from polytask.regularization.objective.scratch import Scratch
from polytask.regularization.objective.steps import multi_tensor_steps, parameter_groups

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# The memory itself.


def test_the_same_form_is_the_same_memory():
    scratch = Scratch()
    first = scratch.like(torch.zeros(2, 3))
    scratch.like(torch.zeros(3, 2))
    scratch.like(torch.zeros(2, 3), 1)
    assert scratch.like(torch.ones(2, 3)) is first
    assert scratch.like(torch.zeros(2, 3), 1) is scratch.like(torch.ones(2, 3), 1)


@pytest.mark.parametrize(
    ("other", "place"),
    [
        (torch.zeros(4, 4), 1),
        (torch.zeros(2, 4), 0),
        (torch.zeros(4, 4).T, 0),
        (torch.zeros(4, 4, dtype=torch.float64), 0),
        (torch.zeros(4, 4, device="meta"), 0),
    ],
    ids=["place", "shape", "strides", "dtype", "device"],
)
def test_another_form_is_other_memory(other, place):
    scratch = Scratch()
    kept, new = scratch.like(torch.zeros(4, 4)), scratch.like(other, place)
    assert not same_memory(kept, new)
    assert (new.shape, new.stride()) == (other.shape, other.stride())
    assert (new.dtype, new.device) == (other.dtype, other.device)
    assert kept.stride() == (4, 1)


@pytest.mark.parametrize(
    "given",
    [nn.Parameter(torch.ones(3, 4)), torch.ones(1, 4).expand(3, 4), torch.ones(3, 8)[:, ::2]],
    ids=["parameter", "overlapping", "with gaps"],
)
def test_memory_is_plain_and_nobody_elses(given):
    memory = Scratch().like(given)
    assert type(memory) is Tensor
    assert not memory.requires_grad
    assert not same_memory(memory, given)
    memory.copy_(torch.arange(12.0).view(3, 4))
    assert memory.flatten().tolist() == list(range(12))
    assert (given == 1).all()


def test_numbers_are_kept_by_value_and_dtype():
    scratch = Scratch()
    single, double = torch.zeros(()), torch.zeros((), dtype=torch.float64)
    third = scratch.number(1 / 3, double)
    assert scratch.number(1 / 3, torch.ones(5, dtype=torch.float64)) is third
    assert (third.shape, float(third)) == ((), 1 / 3)
    assert float(scratch.number(0.25, double)) == 0.25
    assert scratch.number(1 / 3, single).dtype == torch.float32
    assert scratch.number(1 / 3, torch.zeros((), device="meta")).device.type == "meta"
    assert not same_memory(third, scratch.like(double))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_starts_empty(copied):
    scratch = Scratch()
    scratch.like(torch.ones(2, 2))
    assert scratch._kept
    assert not copied(scratch)._kept


def test_memory_is_not_pickled_with_a_penalty():
    penalty = L1(0.5)
    penalty.prox_([torch.ones(100, 100)], [torch.ones(100, 100)])
    assert penalty.scratch._kept
    pickled = pickle.dumps(penalty)
    assert len(pickled) < 1000
    assert not pickle.loads(pickled).scratch._kept


# What the penalties make of it.


def soft(u: Tensor, cut: Tensor) -> Tensor:
    return u.sign() * (u.abs() - cut).clamp(min=0)


def group(u: Tensor, step: Tensor, strength: float) -> Tensor:
    """Row by row: the root of ‖u / (s + λt)‖ = 1 by halving an interval that holds it."""
    w = torch.zeros_like(u)
    for row, (part, cut) in enumerate(zip(u, strength * step, strict=True)):
        if linalg.vector_norm(part / cut) > 1:
            low, high = 0.0, float(linalg.vector_norm(part))
            for _ in range(100):
                middle = (low + high) / 2
                above = linalg.vector_norm(part / (middle + cut)) > 1
                low, high = (middle, high) if above else (low, middle)
            w[row] = part * low / (low + cut)
    return w


def mcp(u: Tensor, t: Tensor, strength: float, gamma: float) -> Tensor:
    """The firm threshold for small steps, the hard threshold for large ones."""
    firm = torch.where(u.abs() <= gamma * strength, soft(u, strength * t) / (1 - t / gamma), u)
    return torch.where(t < gamma, firm, torch.where(u.abs() <= strength * (gamma * t) ** 0.5, 0, u))


def scad(u: Tensor, t: Tensor, strength: float, a: float) -> Tensor:
    """Three pieces for small steps, two for large ones."""
    line = ((a - 1) * u - u.sign() * a * strength * t) / (a - 1 - t)
    three = torch.where(u.abs() <= (1 + t) * strength, soft(u, strength * t), line)
    three = torch.where(u.abs() <= a * strength, three, u)
    limit = torch.where(t < a + 1, (a + 1 + t) / 2, ((a + 1) * t) ** 0.5) * strength
    return torch.where(t < a - 1, three, torch.where(u.abs() <= limit, soft(u, strength * t), u))


ROWS = Selector(group="row")
CASES = {
    "lasso": (lambda: L1(0.7), lambda u, t: soft(u, 0.7 * t)),
    "ridge": (lambda: L2(0.7), lambda u, t: u / (1 + 0.7 * t)),
    "elastic net": (
        lambda: ElasticNet(0.7, 0.4),
        lambda u, t: soft(u, 0.28 * t) / (1 + 0.42 * t),
    ),
    "mcp": (lambda: MCP(0.7, 1.5), lambda u, t: mcp(u, t, 0.7, 1.5)),
    "scad": (lambda: SCAD(0.7, 2.2), lambda u, t: scad(u, t, 0.7, 2.2)),
    "group": (
        lambda: GroupLasso(0.3, ROWS),
        lambda u, t: group(u, t, 0.3 * u.shape[1] ** 0.5),
    ),
    "sparse group": (
        lambda: SparseGroupLasso(0.7, 0.4, ROWS),
        lambda u, t: group(soft(u, 0.28 * t), t, 0.42 * u.shape[1] ** 0.5),
    ),
    "joint": (
        lambda: JointFeatures(0.7, 0.4),
        lambda u, t: group(u / (1 + 0.42 * t), t / (1 + 0.42 * t), 0.28),
    ),
}
every = pytest.mark.parametrize("name", CASES)


def draw(seed: int, shape: tuple[int, int] = (6, 4)) -> tuple[Tensor, Tensor]:
    """Weights and the steps of a metric; of the groups some vanish, some nearly do."""
    scale = torch.logspace(-1, 1, shape[0], dtype=torch.float64).unsqueeze(1)
    return normal(*shape, seed=seed) * scale, normal(*shape, seed=seed + 50).mul(0.5).exp()


def check(penalty: Penalty, plain, pairs: list[tuple[Tensor, Tensor]], tolerance=EXACT) -> None:
    """The proximal step equals the plain formula and writes to the weights only."""
    blocks, steps = [u.clone() for u, _ in pairs], [t.clone() for _, t in pairs]
    penalty.prox_(blocks, steps)
    for w, step, (u, t) in zip(blocks, steps, pairs, strict=True):
        torch.testing.assert_close(w, plain(u, t), **tolerance)
        assert torch.equal(step, t)


@every
def test_blocks_of_one_form_never_mix(name):
    make, plain = CASES[name]
    penalty = make()
    for seed in range(3):
        check(penalty, plain, [draw(seed), draw(seed + 10), draw(seed + 20)])


@every
def test_nothing_is_left_of_an_earlier_call(name):
    make, plain = CASES[name]
    penalty = make()
    for junk in (torch.nan, torch.inf, 0.0):
        full = torch.full((6, 4), junk, dtype=torch.float64)
        penalty.prox_([full], [full.clone()])
        check(penalty, plain, [draw(1)])


@every
def test_other_dtypes_and_shapes_in_between(name):
    make, plain = CASES[name]
    penalty = make()
    single = {"rtol": 1e-5, "atol": 1e-5}
    for shape in ((6, 4), (3, 4), (4, 6), (6, 4)):
        u, t = draw(2, shape)
        check(penalty, plain, [(u, t)])
        check(penalty, plain, [(u.float(), t.float())], single)
        # The same shape with other strides, as features of a layer have them.
        turned = [x.T.contiguous().T for x in draw(3, shape)]
        check(penalty, plain, [(turned[0], turned[1])])
        check(penalty, plain, [(turned[0], t)])


# What an optimizer's steps make of it.


def three_layers() -> nn.Sequential:
    """Layers of one form, whose gradients have different sizes."""
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3))).double()
    for layer, factor in zip(net, (1.0, 10.0, 0.1), strict=True):
        layer.weight.data.mul_(factor)
    return net


def update(net: nn.Module, optimizer: Adam, seed: int) -> None:
    optimizer.zero_grad()
    net(normal(8, 4, seed=seed)).square().mean().backward()
    optimizer.step()


@every
def test_every_parameter_has_its_own_metric(name):
    make, plain = CASES[name]
    net, penalty = three_layers(), make()
    optimizer = Adam(net.parameters(), lr=0.3)
    bound = penalise(net, [penalty], optimizer, heads="1.*" if name == "joint" else None)
    for seed in range(3):
        update(net, optimizer, seed)
        before = [layer.weight.detach().clone() for layer in net]
        gradients = [layer.weight.grad.clone() for layer in net]
        state = copy.deepcopy([optimizer.state[layer.weight] for layer in net])
        steps = [proximal_steps(optimizer, layer.weight) for layer in net]
        bound.prox_()
        for layer, u, t, gradient, kept in zip(net, before, steps, gradients, state, strict=True):
            if name != "joint":
                expected = plain(u, t)
            elif layer is net[1]:
                # A group is what all outputs make of one feature: a column of the layer.
                expected = plain(u.T, t.T).T
            else:
                expected = u
            torch.testing.assert_close(layer.weight.detach(), expected, **EXACT)
            assert torch.equal(layer.weight.grad, gradient)
            for key, value in optimizer.state[layer.weight].items():
                assert torch.equal(value, kept[key])
    assert bound.state_dict() == {}
    assert set(net.state_dict()) == {"0.weight", "1.weight", "2.weight"}


def test_weights_that_moved_are_found():
    net = three_layers()
    optimizer = Adam(net.parameters(), lr=0.3)
    bound = penalise(net, [L2(0.7)], optimizer)
    for seed in range(2):
        update(net, optimizer, seed)
        left = net[0].weight.data
        before = left.clone()
        net[0].weight.data = before.clone()
        bound.prox_()
        expected = before / (1 + 0.7 * proximal_steps(optimizer, net[0].weight))
        torch.testing.assert_close(net[0].weight.detach(), expected, **EXACT)
        assert torch.equal(left, before)


def test_one_penalty_of_two_models():
    apart = []
    for seeds in ([0, 2], [1, 3]):
        net = three_layers()
        optimizer = Adam(net.parameters(), lr=0.3)
        bound = penalise(net, [GroupLasso(0.3, ROWS)], optimizer)
        for seed in seeds:
            update(net, optimizer, seed)
            bound.prox_()
        apart.append(net)
    penalty = GroupLasso(0.3, ROWS)
    nets = [three_layers(), three_layers()]
    optimizers = [Adam(net.parameters(), lr=0.3) for net in nets]
    both = [penalise(net, [penalty], o) for net, o in zip(nets, optimizers, strict=True)]
    for seed in range(4):
        update(nets[seed % 2], optimizers[seed % 2], seed)
        both[seed % 2].prox_()
    for net, alone in zip(nets, apart, strict=True):
        for name, weight in net.named_parameters():
            assert torch.equal(weight, alone.get_parameter(name))


def test_steps_are_written_where_they_were():
    net = three_layers()
    parameters = list(net.parameters())
    optimizer = Adam(parameters, lr=0.3)
    places, scratch = parameter_groups(optimizer, parameters), Scratch()

    def steps(memory: Scratch | None) -> list[Tensor]:
        found = multi_tensor_steps(optimizer, parameters, places, memory)
        for step, parameter in zip(found, parameters, strict=True):
            torch.testing.assert_close(step, proximal_steps(optimizer, parameter), **EXACT)
        return found

    update(net, optimizer, 0)
    first, alone = steps(scratch), steps(None)
    kept = [step.clone() for step in alone]
    update(net, optimizer, 1)
    second = steps(scratch)
    steps(None)
    for before, after, mine, copied in zip(first, second, alone, kept, strict=True):
        assert before is after
        assert torch.equal(mine, copied)
        assert not torch.equal(mine, after)
    others = [t for p in parameters for t in (p, p.grad, *optimizer.state[p].values())]
    assert not any(same_memory(step, other) for step in second for other in others)
    assert len({step.data_ptr() for step in second}) == 3
