"""What the engine owes every method: gradients everywhere, absent tasks, no waiting."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from polytask import MultiTaskBackward
from polytask.aggregation import GradientAggregator, GramianAggregator, Sum, UPGrad
from polytask.balancing import FixedWeights, LossBalancer
from polytask.config.balance_facts import balance_classes, with_defaults
from polytask.errors import InvalidArgument, Unsupported
from polytask.gradients import Balance

METHODS = {cls.__name__: cls for cls in balance_classes() if cls.__name__ != "PooledLoss"}
LOSS_LEVEL = [name for name, cls in METHODS.items() if issubclass(cls, LossBalancer)]
GRAMIAN = [name for name, cls in METHODS.items() if issubclass(cls, GramianAggregator)]
COORDINATES = [name for name, cls in METHODS.items() if issubclass(cls, GradientAggregator)]


class Net(nn.Module):
    """A trunk and K heads; task k has its own size of loss."""

    def __init__(self, num_tasks: int, kind: torch.dtype = torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(4)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(kind)

        self.trunk = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh()).to(kind)
        self.heads = nn.ModuleList(nn.Linear(5, 1).to(kind) for _ in range(num_tasks))
        self.x, self.y = draw(9, 4), draw(9, num_tasks)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * draw(*parameter.shape))

    def losses(self, z: Tensor) -> list[Tensor]:
        return [
            (1.0 + k) * (head(z)[:, 0] - self.y[:, k]).square().mean()
            for k, head in enumerate(self.heads)
        ]

    def update(self, step: MultiTaskBackward, absent: int | None = None):
        """Gradients of one update, with or without task `absent`."""
        self.zero_grad()
        z = self.trunk(self.x)
        losses: list[Tensor | None] = list(self.losses(z))
        if absent is not None:
            losses[absent] = None
        return step(losses, taps=[z] if step.at == "representation" else [])


def test_the_counts_that_pooling_needs_are_asked_for():
    with pytest.raises(InvalidArgument, match="counts"):
        Net(3).update(MultiTaskBackward(with_defaults(pooled(), 3)))


def pooled() -> type:
    return next(cls for cls in balance_classes() if cls.__name__ == "PooledLoss")


# Every shared parameter moves, wherever gradients are measured, or the combination is refused.


def frozen(net: Net) -> list[str]:
    return [
        name
        for name, parameter in net.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]


@pytest.mark.parametrize("at", ["parameters", "representation"])
@pytest.mark.parametrize("name", METHODS)
def test_no_part_of_the_network_is_frozen(name: str, at: str):
    method = with_defaults(METHODS[name], 3)
    try:
        step = MultiTaskBackward(method, at=at)
    except Unsupported:
        assert name in COORDINATES, "only methods that remember coordinates may be refused"
        assert at == "representation"
        assert any(True for _ in method.buffers())
        return
    net = Net(3)
    report = net.update(step)
    assert not frozen(net)
    assert report.present.all()
    for parameter in method.parameters():
        assert parameter.grad is not None, "a scalar of the method is not trained"
        assert parameter.grad.any()


def test_mutation_a_detached_representation_is_noticed():
    """Gradients at detached features, as public code has them: the trunk stands still."""
    net = Net(3)
    z = net.trunk(net.x).detach().requires_grad_()
    FixedWeights([1.0, 1.0, 1.0])(torch.stack(net.losses(z))).backward()
    assert frozen(net) == [name for name, _ in net.named_parameters() if name.startswith("trunk")]


# A task without labels is out of the problem, and the state of the method is that of the others.


# RandomWeights draws one number per task, so that a task keeps its numbers whoever is absent.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "RandomWeights"])
def test_an_absent_task_leaves_the_smaller_problem(name: str):
    full, small = Net(3), Net(3)
    del small.heads[1]
    small.y = small.y[:, [0, 2]]
    factor = torch.tensor([1.0, 3.0], dtype=torch.float64)  # of the tasks that are left

    def two_losses(z: Tensor) -> list[Tensor]:
        return [
            factor[k] * (head(z)[:, 0] - small.y[:, k]).square().mean()
            for k, head in enumerate(small.heads)
        ]

    small.losses = two_losses
    here = MultiTaskBackward(with_defaults(METHODS[name], 3))
    there = MultiTaskBackward(with_defaults(METHODS[name], 2))
    for _ in range(3):
        report = full.update(here, absent=1)
        wanted = small.update(there)
        assert report.weights[1] == 0.0 or report.weights.isnan().all()
        one = torch.cat([p.grad.flatten() for p in full.trunk.parameters()])
        two = torch.cat([p.grad.flatten() for p in small.trunk.parameters()])
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(report.weights[[0, 2]], wanted.weights, equal_nan=True)
        assert full.heads[1].weight.grad is None
    back = full.update(here)
    assert not frozen(full)
    assert back.present.all()


# How often an update waits for the device. On the host there is nothing to wait for, so what would
# make a device wait is counted: reading a value, copying to the host, shapes that depend on values.

READS = ("item", "tolist", "cpu", "__bool__", "__int__", "__float__", "__index__")
SHAPES = {"nonzero", "masked_select", "_unique2", "unique_dim", "_local_scalar_dense", "equal"}


class Waits(TorchDispatchMode):
    """Counts while it is entered; one read is one wait, whatever it is made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: Balance | None = None):
        super().__init__()
        self.seen: list[str] = []
        self._method = method
        self._inside = False
        for name in READS:
            monkeypatch.setattr(Tensor, name, self._watched(name, getattr(Tensor, name)))

    def _watched(self, name, original):
        def read(tensor, *args):
            if self._inside or self._stays_on_the_host(tensor):
                return original(tensor, *args)
            self.seen.append(name)
            self._inside = True
            try:
                return original(tensor, *args)
            finally:
                self._inside = False

        return read

    def _stays_on_the_host(self, tensor: Tensor) -> bool:
        """The state of a method on Gramians lives on the host, on every device."""
        if not isinstance(self._method, GramianAggregator):
            return False
        return any(tensor is buffer for buffer in self._method.buffers())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        boolean = name == "index" and any(
            isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1]
        )
        if (name in SHAPES or boolean) and not self._inside:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def waits_of(name: str, monkeypatch: pytest.MonkeyPatch, *, absent: int | None = None) -> list[str]:
    """Of the third update, when everything has been set up."""
    method = with_defaults(METHODS[name], 3)
    step = MultiTaskBackward(method)
    net = Net(3)
    for _ in range(2):
        net.update(step, absent=absent)
    watch = Waits(monkeypatch, method)
    with watch:
        net.update(step, absent=absent)
        if isinstance(method, LossBalancer) and method.observes:
            method.observe(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    monkeypatch.undo()
    return watch.seen


@pytest.mark.parametrize("absent", [None, 1])
@pytest.mark.parametrize("name", LOSS_LEVEL)
def test_methods_on_losses_never_wait(name: str, absent, monkeypatch: pytest.MonkeyPatch):
    assert waits_of(name, monkeypatch, absent=absent) == []


@pytest.mark.parametrize("absent", [None, 1])
@pytest.mark.parametrize("name", GRAMIAN)
def test_methods_on_inner_products_wait_once(name: str, absent, monkeypatch: pytest.MonkeyPatch):
    seen = waits_of(name, monkeypatch, absent=absent)
    # Weights that are ready are looked at only where they lie on the host: nothing waits for that.
    expected = ["__bool__"] if METHODS[name].needs == "none" else ["cpu"]
    assert seen == expected


@pytest.mark.parametrize("name", COORDINATES)
def test_methods_on_coordinates_wait_a_few_times(name: str, monkeypatch: pytest.MonkeyPatch):
    """Whatever the number of tasks and of parameters."""
    assert 1 <= len(waits_of(name, monkeypatch)) <= 4


@pytest.mark.parametrize(
    "read",
    [
        lambda losses: losses.sum().item(),
        lambda losses: bool((losses < 0).any()),
        lambda losses: [float(loss) for loss in losses.detach()],
        lambda losses: losses.detach()[losses > 0],
        lambda losses: losses.detach().cpu().numpy(),
        lambda losses: losses.nonzero(),
    ],
)
def test_mutation_a_balancer_that_reads_its_losses_is_noticed(read, monkeypatch):
    class Curious(LossBalancer):
        num_tasks = 3

        def objective(self, losses, present, counts):
            read(losses)
            return losses.sum()

    step, net = MultiTaskBackward(Curious()), Net(3)
    watch = Waits(monkeypatch)
    with watch:
        net.update(step)
    monkeypatch.undo()
    assert watch.seen


# Outside any trainer: a compiled network.


@pytest.mark.parametrize("method", [UPGrad, Sum, lambda: FixedWeights([1.0, 2.0, 3.0])])
def test_a_compiled_network_gives_the_same(method):
    """Several backward passes need that compiled graphs keep their buffers, as documented."""
    plain, compiled = Net(3), Net(3)
    compiled.trunk = torch.compile(compiled.trunk, backend="aot_eager")
    wanted = plain.update(MultiTaskBackward(method()))
    with torch._functorch.config.patch(donated_buffer=False):
        report = compiled.update(MultiTaskBackward(method()))
    torch.testing.assert_close(report.weights, wanted.weights)
    for one, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
