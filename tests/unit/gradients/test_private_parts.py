"""Behind a branch: what one task has for itself keeps weight 1, what several reach is weighed."""

import pytest
import torch
from torch import nn

from polytask import MultiTaskBackward, branch
from polytask.aggregation import IMTLG, GradDrop, Mean, MoCo, UPGrad
from polytask.balancing import FixedWeights
from polytask.errors import Unsupported

NAMES = ["a", "b", "c"]


class Gated(nn.Module):
    """Shared experts, one gate and one expert of its own per task: representations differ."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 5) for _ in range(2)])
        self.own = nn.ModuleDict({name: nn.Linear(4, 5) for name in NAMES})
        self.gates = nn.ModuleDict({name: nn.Linear(4, 3) for name in NAMES})
        self.heads = nn.ModuleDict({name: nn.Linear(5, 1) for name in NAMES})

    def losses(self, x, *, part: bool) -> dict:
        losses = {}
        for name in NAMES:
            stack = torch.stack([e(x).tanh() for e in [*self.experts, self.own[name]]], 1)
            z = (self.gates[name](x).softmax(1).unsqueeze(2) * stack).sum(1)
            z = branch(z, [name])[name] if part else z
            losses[name] = (self.heads[name](z) ** 2).mean() * (1 + 10 * (name == "c"))
        return losses


def gradients(model):
    return {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


def filled(balance, *, part: bool, drop: str = "", **options):
    torch.manual_seed(0)
    model = Gated().double()
    x = torch.randn(16, 4, dtype=torch.float64)
    losses = model.losses(x, part=part)
    if drop:
        losses[drop] = None
    report = MultiTaskBackward(balance, **options)(losses)
    return gradients(model), report


@pytest.mark.parametrize("options", [{}, {"update": "backward"}, {"max_gradient_memory": 700}])
@pytest.mark.parametrize("drop", ["", "b"])
@pytest.mark.parametrize("make", [UPGrad, IMTLG, Mean])
@pytest.mark.filterwarnings("ignore:The gradients of 3 tasks need")
def test_a_branch_per_task_gives_what_no_branch_gives(make, drop, options):
    """Without branches, what several losses reach is read from the graph: the reference."""
    plain, expected = filled(make(), part=False, drop=drop)
    found, report = filled(make(), part=True, drop=drop, **options)
    torch.testing.assert_close(report.weights, expected.weights, rtol=1e-9, atol=1e-12)
    for name, gradient in plain.items():
        if gradient is None:
            assert found[name] is None or not found[name].any()
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("heads", ["one", "weighted"])
def test_private_parts_get_weight_one_or_that_of_their_task(heads):
    found, report = filled(UPGrad(), part=True, heads=heads)
    plain, _ = filled(Mean(), part=False, heads="one")
    for k, name in enumerate(NAMES):
        factor = 1.0 if heads == "one" else report.weights[k]
        for layer in ("own", "gates", "heads"):
            key = f"{layer}.{name}.weight"
            torch.testing.assert_close(found[key], factor * plain[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [GradDrop, MoCo])
def test_methods_that_combine_coordinates_leave_private_parts_alone(make):
    found, _ = filled(make(), part=True)
    plain, _ = filled(Mean(), part=False)
    for name in NAMES:
        key = f"own.{name}.weight"
        torch.testing.assert_close(found[key], plain[key], rtol=1e-9, atol=1e-12)


def test_loss_balancers_keep_weight_one_there_too():
    found, _ = filled(FixedWeights([1.0, 2.0, 3.0]), part=True)
    plain, _ = filled(Mean(), part=False)
    for name in NAMES:
        for layer in ("own", "gates", "heads"):
            key = f"{layer}.{name}.weight"
            torch.testing.assert_close(found[key], plain[key], rtol=1e-9, atol=1e-12)
    torch.manual_seed(0)
    model = Gated().double()
    losses = model.losses(torch.randn(16, 4, dtype=torch.float64), part=False)
    sum(w * loss / 6 for w, loss in zip((1.0, 2.0, 3.0), losses.values(), strict=True)).backward()
    key = "experts.0.weight"
    torch.testing.assert_close(found[key], gradients(model)[key], rtol=1e-9, atol=1e-12)


def test_there_is_no_common_representation_to_measure_at():
    with pytest.raises(Unsupported, match="a branch serves one task only"):
        filled(UPGrad(), part=True, at="representation")


def test_a_first_update_with_one_task_alone_learns_nothing_about_what_is_shared():
    torch.manual_seed(0)
    model = Gated().double()
    x = torch.randn(16, 4, dtype=torch.float64)
    step = MultiTaskBackward(UPGrad())
    step(dict.fromkeys(NAMES) | {"a": model.losses(x, part=True)["a"]})
    alone = gradients(model)["own.a.weight"]
    assert alone is not None
    assert alone.any()
    model.zero_grad()
    report = step(model.losses(x, part=True))
    expected, reference = filled(UPGrad(), part=True)
    torch.testing.assert_close(report.weights, reference.weights)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name])


@pytest.mark.parametrize("budget", [1100, 2300, 3400])
@pytest.mark.filterwarnings("ignore:The gradients of 3 tasks need")
def test_nothing_is_counted_twice_where_a_shortcut_crosses_a_cut(budget):
    """Blocks of two layers with a shortcut: what arrives before a block came by two ways."""
    torch.manual_seed(0)
    first = nn.Linear(4, 6).double()
    layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(4)]).double()
    heads = nn.ModuleList([nn.Linear(6, 1) for _ in NAMES]).double()
    x = torch.randn(16, 4, dtype=torch.float64)
    gramians = []
    for memory in (2**31, budget):
        y = first(x).tanh()
        y = y + layers[1](layers[0](y).tanh()).tanh()
        y = y + layers[3](layers[2](y).tanh()).tanh()
        losses = [(head(y) ** 2).mean() for head in heads]
        report = MultiTaskBackward(UPGrad(), max_gradient_memory=memory)(losses)
        gramians.append(report.gramian)
    assert "over-memory-budget" in report.flags
    torch.testing.assert_close(*gramians, rtol=1e-12, atol=1e-15)
