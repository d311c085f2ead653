"""Which parameters are shared, when some are frozen, or only some of the tasks have labels."""

import pytest
import torch
from torch import nn

from polytask import MultiTaskBackward, branch
from polytask.aggregation import MGDA, GradNorm, MoCo, NashMTL, UPGrad
from polytask.errors import InvalidArgument

NAMES = ["a", "b", "c"]


class Net(nn.Module):
    """Two layers that tasks share, heads, and a layer that only the task "own" reads."""

    def __init__(self, names=NAMES):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))
        self.heads = nn.ModuleDict({name: nn.Linear(5, 1) for name in names})
        self.own = nn.Linear(4, 1)
        self.x = torch.randn(8, 4)
        self.double()
        self.x = self.x.double()

    def losses(self, present=NAMES, rows=slice(None), *, total=False, part=False):
        z = self.trunk(self.x[rows])
        copies = branch(z, [*self.heads]) if part else dict.fromkeys(self.heads, z)
        found = {name: head(copies[name]) for name, head in self.heads.items()}
        found["own"] = self.own(self.x[rows])
        each = {name: y.square().sum() if total else y.square().mean() for name, y in found.items()}
        names = [*self.heads] if part else [*self.heads, "own"]
        return {name: each[name] if name in present else None for name in names}

    def gradients(self):
        found = [p.grad for p in self.parameters()]
        self.zero_grad()
        return found


def weighted(net, report, present=NAMES):
    losses = list(net.losses(present).values())
    objective = sum(
        weight * loss
        for weight, loss in zip(report.weights, losses, strict=True)
        if loss is not None
    )
    leaves = [p for p in net.trunk.parameters() if p.requires_grad]
    return torch.autograd.grad(objective, leaves)


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("make", [UPGrad, GradNorm])
def test_a_part_of_the_trunk_may_be_frozen_and_released(make, named):
    net = Net()
    step = MultiTaskBackward(make(), shared=net.trunk.parameters() if named else None)
    for frozen in (True, False, True) if named else (False, True, False):
        net.trunk[0].requires_grad_(not frozen)
        net.zero_grad()
        report = step(net.losses())
        wanted = weighted(net, report)
        same([p.grad for p in net.trunk.parameters() if p.requires_grad], wanted)


def test_a_frozen_trunk_leaves_nothing_to_balance():
    net = Net()
    step = MultiTaskBackward(MGDA())
    step(net.losses())
    net.trunk.requires_grad_(False)
    with pytest.raises(InvalidArgument, match="frozen"):
        step(net.losses())


def test_shared_parameters_of_another_model_are_refused():
    net = Net()
    with pytest.raises(InvalidArgument, match="they reach none of them"):
        MultiTaskBackward(MGDA(), shared=Net().trunk.parameters())(net.losses([*NAMES, "own"]))


@pytest.mark.parametrize("named", [False, True])
def test_an_update_of_a_task_that_shares_nothing(named):
    net = Net()
    step = MultiTaskBackward(MGDA(), shared=net.trunk.parameters() if named else None)
    if not named:
        step(net.losses())
        net.zero_grad()
    report = step(net.losses(["own"]))
    (wanted,) = torch.autograd.grad(net.losses(["own"])["own"], net.own.weight)
    assert torch.equal(net.own.weight.grad, wanted)
    assert all(p.grad is None for p in net.trunk.parameters())
    assert report.present.tolist() == [False, False, False, True]


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("names", [["a"], NAMES])
@pytest.mark.parametrize("make", [NashMTL, MoCo])
def test_a_window_of_one_task_is_one_batch(make, names, part):
    """Nobody can tell yet what will be shared; with a branch the head is known to be none of it."""
    net = Net(names)
    report = MultiTaskBackward(make())(net.losses(["a"], part=part))
    wanted = net.gradients()
    step = MultiTaskBackward(make())
    counts = {name: 8.0 * (name == "a") for name in net.losses(part=part)}
    for rows in (slice(3), slice(3, 8)):
        step.accumulate(net.losses(["a"], rows, total=True, part=part), counts)
    torch.testing.assert_close(step.finish().weights, report.weights)
    same([g for g in net.gradients() if g is not None], [g for g in wanted if g is not None])


def test_what_is_shared_is_still_learnt_after_a_window_of_one_task():
    net = Net()
    step = MultiTaskBackward(NashMTL())
    step.accumulate(net.losses(["a"], total=True), {"a": 8.0, "b": 0.0, "c": 0.0, "own": 0.0})
    step.finish()
    net.zero_grad()
    report = step(net.losses())
    same([p.grad for p in net.trunk.parameters()], weighted(net, report))
    (alone,) = torch.autograd.grad(net.losses()["a"], net.heads["a"].weight)
    torch.testing.assert_close(net.heads["a"].weight.grad, alone)


def test_what_is_shared_survives_a_resume():
    net, other = Net(), Net()
    step, resumed = MultiTaskBackward(NashMTL()), MultiTaskBackward(NashMTL())
    step(net.losses())
    net.zero_grad()
    resumed.load_state_dict(step.state_dict([*net.parameters()]), [*other.parameters()])
    step(net.losses(["a"]))
    resumed(other.losses(["a"]))
    for one, wanted in zip(other.parameters(), net.parameters(), strict=True):
        assert (one.grad is None) == (wanted.grad is None)
        assert one.grad is None or torch.equal(one.grad, wanted.grad)


@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("make", [NashMTL, MoCo])
def test_what_is_expected_need_not_be_shown(make, part, window):
    """One task alone: its head is no part of the trunk, because the model has said what is."""
    net = Net()
    named, told = (
        MultiTaskBackward(make(), shared=net.trunk.parameters()),
        MultiTaskBackward(make()),
    )
    told.expect(net.trunk.parameters())

    def losses(present, **options):
        return {n: loss for n, loss in net.losses(present, **options).items() if n != "own"}

    for present in (["a"], ["b"], NAMES):
        named(losses(present))
        wanted = net.gradients()
        if window:
            counts = {name: 8.0 * (name in present) for name in NAMES}
            told.accumulate(losses(present, total=True, part=part), counts)
            told.finish()
        else:
            told(losses(present, part=part))
        for one, two in zip(net.gradients(), wanted, strict=True):
            assert (one is None) == (two is None)
            if one is not None:
                torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)
