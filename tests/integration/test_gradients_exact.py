"""Gradients of one multi-task backward equal K separate backward passes, for every way to them."""

import copy
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polytask import MultiTaskBackward, branch
from polytask.aggregation import IMTLG, GradDrop, GradNorm, Mean, MoCo, UPGrad
from polytask.balancing import FixedWeights, LossBalancer
from polytask.gradients import layers, together

TASKS = ("a", "b", "c")
Split = Callable[[Tensor], Mapping[str, Tensor]]


def same(z: Tensor) -> Mapping[str, Tensor]:
    return dict.fromkeys(TASKS, z)


class Net(nn.Module):
    """A trunk, three heads of different size, three kinds of loss."""

    def __init__(self, trunk: nn.Module, width: int, *shape: int, kind=torch.float64):
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleDict(
            {
                "a": nn.Linear(width, 1),
                "b": nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 4)),
                "c": nn.Linear(width, 2),
            }
        )
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(12, *shape, generator=generator, dtype=kind)
        self.y = torch.randn(12, 2, generator=generator, dtype=torch.float64)
        self.labels = torch.arange(12) % 4

    def features(self) -> Tensor:
        return self.trunk(self.x)

    def losses(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            "a": (self.heads["a"](z["a"])[:, 0] - self.y[:, 0]).square().mean(),
            "b": 3.0 * nn.functional.cross_entropy(self.heads["b"](z["b"]), self.labels),
            "c": nn.functional.huber_loss(self.heads["c"](z["c"]), self.y),
        }

    def run(self, split: Split = same) -> tuple[dict[str, Tensor], Tensor]:
        z = self.features()
        return self.losses(split(z)), z


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 6, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
        self.into = nn.Linear(3, 8)

    def forward(self, x):
        return self.layer(self.into(x)).mean(1)


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
        ).to(memory_format=torch.channels_last)

    def forward(self, x):
        return self.net(x).mean((2, 3))


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.3))
        self.second = nn.Sequential(nn.Linear(8, 6), nn.Tanh())

    def forward(self, x):
        return self.second(checkpoint(self.first, x, use_reentrant=False))


class Repeated(nn.Module):
    """One layer used three times: its gradient is the sum over its uses."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(4, 6)
        self.again = nn.Linear(6, 6)

    def forward(self, x):
        z = torch.tanh(self.into(x))
        for _ in range(3):
            z = z + torch.tanh(self.again(z))
        return z


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 6)
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return torch.tanh(self.layer(self.table(x).mean(1)))


class Untidy(Net):
    """Two inputs; a layer for two tasks only; a parameter that nobody reaches; a frozen one."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), 6, 4)
        self.other = nn.Linear(2, 6)
        self.pair = nn.Linear(6, 6)
        self.unused = nn.Linear(3, 3)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.extra = nn.Linear(2, 2)

    def run(self, split: Split = same):
        z = self.frozen(self.trunk(self.x))
        both = torch.tanh(z + self.other(self.y))
        pair = torch.tanh(self.pair(both))
        losses = self.losses({"a": pair, "b": pair, "c": both})
        losses["c"] = losses["c"] + self.extra(self.y).square().mean()
        return losses, z


class Tied(Net):
    """The output layer of one task is the embedding of all of them."""

    def __init__(self):
        super().__init__(Words(), 6, 5)
        self.x = torch.arange(60).view(12, 5) % 4

    def losses(self, z):
        losses = super().losses(z)
        scores = z["b"] @ self.trunk.table.weight.T
        losses["b"] = losses["b"] + nn.functional.cross_entropy(scores, self.labels)
        return losses


class Gated(nn.Module):
    """A layer used twice, without biases, on three dimensions, wide enough to save arithmetic."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(4, 40, bias=False)
        self.again = nn.Linear(40, 40)

    def forward(self, x):
        z = torch.tanh(self.into(x.unsqueeze(1)))
        z = z + torch.sigmoid(self.again(z))
        return (z * torch.tanh(self.again(z)))[:, 0]


class TwoInputs(Net):
    """Two trunks that meet, so that tasks enter what they share in two places."""

    def __init__(self):
        super().__init__(mlp(), 12, 4)
        self.side = nn.Sequential(nn.Linear(2, 6), nn.SiLU())

    def run(self, split: Split = same):
        z, side = self.trunk(self.x), self.side(self.y)
        both = {t: torch.cat([side, z] if t == "b" else [z, side], 1) for t in TASKS}
        return self.losses(both), z


def mlp(*more: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), *more, nn.Tanh(), nn.Linear(8, 6), nn.ReLU())


def partly_frozen() -> Net:
    net = Net(mlp(), 6, 4)
    net.trunk[0].requires_grad_(False)
    net.heads["a"].bias.requires_grad_(False)
    return net


def words() -> Net:
    net = Net(Words(), 6, 5)
    net.x = torch.arange(60).view(12, 5) % 4
    return net


SIMPLE = {
    "mlp": lambda: Net(mlp(), 6, 4),
    "dropout": lambda: Net(mlp(nn.Dropout(0.4)), 6, 4),
    "batch norm": lambda: Net(mlp(nn.BatchNorm1d(8)), 6, 4),
    "layer norm": lambda: Net(mlp(nn.LayerNorm(8)), 6, 4),
    "convolutions": lambda: Net(Convolutions(), 6, 2, 7, 7),
    "lstm": lambda: Net(Recurrent(), 6, 5, 3),
    "attention": lambda: Net(Attention(), 8, 5, 3),
    "checkpointed": lambda: Net(Checkpointed(), 6, 4),
    "repeated layer": lambda: Net(Repeated(), 6, 4),
    "embedding": words,
    "wide": lambda: Net(
        nn.Sequential(
            nn.Linear(4, 40), nn.ReLU(inplace=True), nn.Linear(40, 40), nn.GELU(), nn.Linear(40, 40)
        ),
        40,
        4,
    ),
    "wide, used twice": lambda: Net(Gated(), 40, 4),
    "partly frozen": partly_frozen,
}
ALL = {**SIMPLE, "tied": Tied, "untidy": Untidy, "two inputs": TwoInputs}


def make(name: str) -> Net:
    torch.manual_seed(0)
    return ALL[name]().double()


def forward(net: Net, split: Split = same) -> tuple[dict[str, Tensor], Tensor]:
    """With the same dropout masks every time."""
    torch.manual_seed(11)
    return net.run(split)


def separately(net: Net) -> dict[str, dict[str, Tensor]]:
    """Parameter → task → gradient, from one forward and backward pass per task."""
    table: dict[str, dict[str, Tensor]] = {}
    for task in TASKS:
        fresh = copy.deepcopy(net)
        forward(fresh)[0][task].backward()
        for name, parameter in fresh.named_parameters():
            if parameter.grad is not None:
                table.setdefault(name, {})[task] = parameter.grad
    return table


def rows_of(table: Mapping[str, Mapping[str, Tensor]], tasks: Sequence[str] = TASKS) -> Tensor:
    """The Jacobian of the shared parameters."""
    shared = [by_task for by_task in table.values() if len(by_task) > 1]
    zero = [torch.zeros_like(next(iter(by_task.values()))) for by_task in shared]
    return torch.stack(
        [
            torch.cat([g.get(t, z).reshape(-1) for g, z in zip(shared, zero, strict=True)])
            for t in tasks
        ]
    )


def expected(table, weights: Tensor, heads: str) -> dict[str, Tensor]:
    by_task = dict(zip(TASKS, weights, strict=True))
    return {
        name: sum(
            g * (by_task[t] if heads == "weighted" or len(gradients) > 1 else 1.0)
            for t, g in gradients.items()
        )
        for name, gradients in table.items()
    }


def check(net: Net, wanted: Mapping[str, Tensor]) -> None:
    # Relative to the largest gradient: a bias before a normalization has none but rounding errors.
    scale = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, parameter in net.named_parameters():
        if name not in wanted:
            assert parameter.grad is None, f"{name} must not get a gradient"
            continue
        assert parameter.grad is not None, f"{name} has no gradient"
        worst = float((parameter.grad - wanted[name]).abs().max()) / scale
        assert worst < 1e-9, f"{name}: {worst}"


WAYS = {
    "assembled": {},
    "backward": {"update": "backward"},
    "over budget": {},
    "together": {},
    "together, backward": {"update": "backward"},
    "assembled, heads weighted": {"heads": "weighted"},
    "together, heads weighted": {"heads": "weighted"},
    "backward, heads weighted": {"update": "backward", "heads": "weighted"},
}
BATCHED = {"mlp", "dropout", "batch norm", "layer norm", "repeated layer", "partly frozen", "wide",
           "wide, used twice", "two inputs"}  # fmt: skip


@pytest.fixture
def settings(monkeypatch):
    """Options of a way, for a model; three tasks are too few for some ways to be chosen."""

    def choose(way: str, net: Net) -> dict:
        options = dict(WAYS[way])
        if way == "over budget":  # as large as the gradients of the largest parameter, no larger
            options["max_gradient_memory"] = 3 * 8 * max(p.numel() for p in net.parameters())
        if way.startswith("together"):
            if not together.SEES_HOOKS:
                pytest.skip("this release of torch has no batched way")
            monkeypatch.setattr(together, "FEWEST_TASKS", 2)
        # The accuracy of sums in float64 is what is tested here.
        worth = float("inf") if way.startswith("together") else 0.0
        monkeypatch.setattr(layers, "_WORTH_IT", worth)
        return options

    return choose


def flags_fit(name: str, way: str, flags: frozenset[str]) -> bool:
    """Whether the way was taken, and not another one that is right too."""
    if way == "over budget":
        return "over-memory-budget" in flags
    batched = way.startswith("together") and name in BATCHED
    return ("together" if batched else "one-by-one") in flags


@pytest.mark.filterwarnings("ignore:The gradients of 3 tasks")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ALL)
def test_at_parameters(name: str, way: str, settings):
    net = make(name)
    table = separately(net)
    rows = rows_of(table)
    step = MultiTaskBackward(UPGrad(), **settings(way, net))
    report = step(forward(net)[0])
    torch.testing.assert_close(report.gramian, rows @ rows.T, rtol=1e-9, atol=0)
    assert flags_fit(name, way, report.flags)
    torch.testing.assert_close(report.weights, UPGrad()(rows @ rows.T), rtol=1e-7, atol=1e-9)
    check(net, expected(table, report.weights, WAYS[way].get("heads", "one")))


@pytest.mark.filterwarnings("ignore:The gradients of 3 tasks")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SIMPLE)
def test_at_parameters_through_a_branch(name: str, way: str, settings):
    net = make(name)
    table = separately(net)
    rows = rows_of(table)
    step = MultiTaskBackward(UPGrad(), **settings(way, net))
    report = step(forward(net, lambda z: branch(z, TASKS))[0])
    torch.testing.assert_close(report.gramian, rows @ rows.T, rtol=1e-9, atol=0)
    assert flags_fit(name, way, report.flags)
    check(net, expected(table, report.weights, WAYS[way].get("heads", "one")))


@pytest.mark.filterwarnings("ignore:The gradients of 3 tasks")
@pytest.mark.parametrize("way", ["assembled", "over budget", "together"])
@pytest.mark.parametrize("name", ALL)
def test_an_absent_task_and_a_penalty(name: str, way: str, settings):
    net = make(name)
    table = separately(net)
    step = MultiTaskBackward(UPGrad(), **settings(way, net))
    step(forward(net)[0])  # now everything shared is known
    net = copy.deepcopy(make(name))
    step = MultiTaskBackward(UPGrad(), **settings(way, net))
    losses, z = forward(net)
    report = step({**losses, "b": None}, penalty=z.square().sum())
    rows = rows_of(
        {n: {t: g for t, g in by.items() if t != "b"} for n, by in table.items()}, ("a", "c")
    )
    here = report.gramian[[0, 2]][:, [0, 2]]
    torch.testing.assert_close(here, rows @ rows.T, rtol=1e-9, atol=0)
    assert not report.gramian[1].any()
    assert report.weights[1] == 0
    alone = make(name)
    forward(alone)[1].square().sum().backward()
    wanted = expected(
        {n: {t: g for t, g in by.items() if t != "b"} for n, by in table.items()},
        report.weights,
        "one",
    )
    for n, parameter in alone.named_parameters():
        if parameter.grad is not None:
            wanted[n] = wanted.get(n, 0.0) + parameter.grad
    check(net, {n: g for n, g in wanted.items() if isinstance(g, Tensor)})


@pytest.mark.parametrize("heads", ["one", "weighted"])
@pytest.mark.parametrize("through", ["taps", "branch"])
@pytest.mark.parametrize("name", SIMPLE)
def test_at_representation(name: str, through: str, heads: str):
    net = make(name)
    table = separately(net)
    losses, z = forward(copy.deepcopy(net))
    at_z = torch.stack(
        [torch.autograd.grad(losses[t], z, retain_graph=True)[0].reshape(-1) for t in TASKS]
    )
    step = MultiTaskBackward(UPGrad(), at="representation", heads=heads)
    if through == "taps":
        losses, z = forward(net)
        report = step(losses, taps=[z])
    else:
        report = step(forward(net, lambda z: branch(z, TASKS))[0])
    torch.testing.assert_close(report.gramian, at_z @ at_z.T, rtol=1e-9, atol=0)
    check(net, expected(table, report.weights, heads))


@pytest.mark.parametrize("name", ALL)
def test_negative_weights_leave_the_heads_alone(name: str):
    net = make(name)
    table = separately(net)
    report = MultiTaskBackward(IMTLG())(forward(net)[0])
    check(net, expected(table, report.weights, "one"))


@pytest.mark.parametrize("through", [same, lambda z: branch(z, TASKS)])
@pytest.mark.parametrize("name", SIMPLE)
def test_weights_known_before(name: str, through: Split):
    net = make(name)
    table = separately(net)
    report = MultiTaskBackward(Mean())(forward(net, through)[0])
    assert report.gramian is None
    check(net, expected(table, torch.full((3,), 1 / 3, dtype=torch.float64), "one"))


@pytest.mark.parametrize("name", ALL)
def test_loss_level(name: str):
    net = make(name)
    table = separately(net)
    report = MultiTaskBackward(FixedWeights([1.0, 2.0, 5.0]))(forward(net)[0])
    wanted = torch.tensor([0.125, 0.25, 0.625], dtype=torch.float64)
    torch.testing.assert_close(report.weights, wanted)
    check(net, expected(table, wanted, "weighted"))


@pytest.mark.parametrize("name", SIMPLE)
def test_loss_level_through_a_branch(name: str):
    net = make(name)
    table = separately(net)
    losses, _ = forward(net, lambda z: branch(z, TASKS))
    report = MultiTaskBackward(FixedWeights([1.0, 2.0, 5.0]))(losses)
    check(net, expected(table, report.weights, "one"))


@pytest.mark.parametrize("name", ALL)
def test_norms_with_and_without_memory(name: str):
    table = separately(make(name))
    rows = rows_of(table)
    for budget in (2**31, 1):
        net = make(name)
        report = MultiTaskBackward(GradNorm(), max_gradient_memory=budget)(forward(net)[0])
        torch.testing.assert_close(report.gramian.diagonal(), (rows * rows).sum(1))
        check(net, expected(table, report.weights, "one"))


@pytest.mark.parametrize("method", [GradDrop, MoCo])
@pytest.mark.parametrize("name", ALL)
def test_methods_that_combine_coordinates(name: str, method):
    net = make(name)
    table = separately(net)
    MultiTaskBackward(method())(forward(net)[0])
    shared = {n: g for n, g in table.items() if len(g) > 1}
    got = {n: p.grad for n, p in net.named_parameters()}
    # The order of the columns is the engine's own; MoCo's update does not depend on it.
    if method is MoCo:
        direction = MoCo()(rows_of(table))
        torch.testing.assert_close(
            torch.cat([got[n].reshape(-1) for n in shared]), direction, rtol=1e-9, atol=1e-12
        )
    else:
        zero = torch.zeros((), dtype=torch.float64)
        for n, gradients in shared.items():
            up = sum((g.clamp(min=0) for g in gradients.values()), start=zero)
            down = sum((g.clamp(max=0) for g in gradients.values()), start=zero)
            off = torch.minimum((got[n] - up).abs(), (got[n] - down).abs())
            assert float(off.max()) < 1e-12
    heads = {n: g for n, g in table.items() if len(g) == 1}
    for n, gradients in heads.items():
        torch.testing.assert_close(got[n], next(iter(gradients.values())), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_trainer_of_one_batch_sees_one_forward(name: str):
    """Running statistics and random state move as in an ordinary step."""
    plain, ours = make(name), make(name)
    sum(forward(plain)[0].values()).backward()
    state = torch.get_rng_state()
    MultiTaskBackward(UPGrad())(forward(ours)[0])
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(plain.buffers(), ours.buffers(), strict=True):
        assert torch.equal(one, other)


def test_mutation_unweighted_heads_and_trunk_are_told_apart():
    """The comparison would notice weighted heads, and a trunk without weights."""
    net = make("mlp")
    table = separately(net)
    report = MultiTaskBackward(UPGrad(), heads="weighted")(forward(net)[0])
    with pytest.raises(AssertionError, match=r"heads\."):
        check(net, expected(table, report.weights, "one"))
    with pytest.raises(AssertionError, match=r"trunk\."):
        check(net, expected(table, torch.ones(3, dtype=torch.float64), "weighted"))


@pytest.mark.parametrize("name", ["wide, used twice", "repeated layer"])
def test_mutation_a_layer_used_twice_needs_its_uses_one_below_the_other(
    name: str, settings, monkeypatch
):
    """Inner products use by use lose the terms between the uses."""
    net = make(name)
    rows = rows_of(separately(net))
    step = MultiTaskBackward(UPGrad(), **settings("together", net))
    real = together.layer_gramian

    def use_by_use(a: Tensor, back: Tensor, exact: bool) -> Tensor:
        pieces = zip(a.split(12), back.split(12, dim=1), strict=True)
        return sum(real(one, other, exact) for one, other in pieces)

    monkeypatch.setattr(together, "layer_gramian", use_by_use)
    report = step(forward(net)[0])
    with pytest.raises(AssertionError):
        torch.testing.assert_close(report.gramian, rows @ rows.T, rtol=1e-3, atol=0)


class Softmax(LossBalancer):
    """Weights that depend on the losses, and a scalar of its own."""

    def __init__(self):
        super().__init__()
        self.num_tasks = 3
        self.s = nn.Parameter(torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64))

    def objective(self, losses, present, counts):
        return torch.logsumexp(torch.where(present, self.s * losses, -torch.inf), 0)


class Windowed:
    """Twelve rows, three tasks with labels in different rows, in micro-batches."""

    MASKS = torch.tensor(
        [[1] * 12, [0, 1, 1, 0, 1, 1] * 2, [0] * 3 + [1] * 3 + [0] * 5 + [1]]
    ).bool()

    def __init__(self, absent: int | None = None, branched: bool = False):
        torch.manual_seed(2)
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6)).double()
        self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(3)).double()
        self.x = torch.randn(12, 4, dtype=torch.float64)
        self.y = torch.randn(12, 3, dtype=torch.float64)
        self.masks = self.MASKS.clone()
        self.branched = branched
        if absent is not None:
            self.masks[absent] = False
        self.counts = self.masks.sum(1).double()

    def parameters(self) -> list[nn.Parameter]:
        return [*self.trunk.parameters(), *self.heads.parameters()]

    def sums(self, rows: slice) -> dict[str, Tensor | None]:
        z = self.trunk(self.x[rows])
        zs = branch(z, TASKS) if self.branched else dict.fromkeys(TASKS, z)
        found: dict[str, Tensor | None] = {}
        for k, task in enumerate(TASKS):
            here = self.masks[k, rows]
            errors = (self.heads[k](zs[task])[:, 0] - self.y[rows, k]).square()
            found[task] = errors[here].sum() if here.any() else None
        return found


def in_window(method, pieces: int, **options):
    data = Windowed(**options)
    step = MultiTaskBackward(method)
    size = 12 // pieces
    counts = dict(zip(TASKS, data.counts, strict=True))
    for start in range(0, 12, size):
        step.accumulate(data.sums(slice(start, start + size)), counts)
        assert all(p.grad is None for p in data.parameters()) or isinstance(method, FixedWeights)
    return step.finish(), data


METHODS = [UPGrad, IMTLG, GradNorm, GradDrop, MoCo, Mean, Softmax, lambda: FixedWeights([1, 2, 5])]


@pytest.mark.parametrize("branched", [False, True])
@pytest.mark.parametrize("absent", [None, 1])
@pytest.mark.parametrize("method", METHODS)
def test_micro_batches_are_one_batch(method, absent, branched):
    """The first and the third micro-batch hold no labels of task c."""
    options = {"absent": absent, "branched": branched}
    many, data = in_window(method(), 4, **options)
    # One micro-batch must be an ordinary call, which tests above hold against separate passes.
    whole = Windowed(**options)
    pairs = zip(whole.sums(slice(None)).items(), whole.counts, strict=True)
    losses = {task: None if one is None else one / count for (task, one), count in pairs}
    own = method()
    report = MultiTaskBackward(own)(losses)
    torch.testing.assert_close(many.weights, report.weights, rtol=1e-12, atol=1e-12, equal_nan=True)
    if many.gramian is not None and report.gramian is not None:
        torch.testing.assert_close(many.gramian, report.gramian, rtol=1e-11, atol=1e-12)
    assert many.present.tolist() == report.present.tolist()
    for one, other in zip(data.parameters(), whole.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-12)


def test_mutation_means_of_micro_batches_are_not_the_mean_of_the_window():
    many, _ = in_window(UPGrad(), 4)
    data = Windowed()
    step = MultiTaskBackward(UPGrad())
    for start in range(0, 12, 3):
        rows = slice(start, start + 3)
        sums = data.sums(rows)
        here = data.masks[:, rows].sum(1)
        means = {
            task: None if one is None else one / count
            for (task, one), count in zip(sums.items(), here, strict=True)
        }
        step.accumulate(means, [4.0] * 3)
    assert float((step.finish().gramian - many.gramian).abs().max()) > 1e-3
