"""DropConnect: weights are masked, unbiased, once per batch; their names and penalties stay."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from polytask.aggregation import UPGrad
from polytask.backbones import MLP, ResidualMLP
from polytask.backbones.drop_connect import DropConnect
from polytask.backbones.dropout import dropout
from polytask.errors import InvalidArgument
from polytask.export.architecture import build_model, describe_architecture
from polytask.gradients import MultiTaskBackward
from polytask.optim.schedules import linear as fade
from polytask.regularization.features import DropoutSchedule
from polytask.regularization.objective import L1, penalise
from polytask.sharing import MultiTaskModel
from polytask.tasks import Regression, group_tasks
from polytask.training.seeding import Replay

P = 0.25


def rows(count=8, width=5):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(count, width, generator=draw, dtype=torch.float64)


def layer(p=P):
    torch.manual_seed(0)
    return DropConnect(5, 4, p).double()


def of_inputs(module, x):
    """Wrong: ordinary dropout, of the inputs of every row."""
    return linear(dropout(x, P), module.weight, module.bias)


def per_row(module, x):
    """Wrong here: a mask for every row."""
    masks = dropout(x.new_ones(len(x), *module.weight.shape), P)
    return torch.einsum("roi,ri->ro", masks * module.weight, x) + module.bias


def unscaled(module, x):
    """Wrong: the expectation is (1 − p)W."""
    return linear(x, dropout(module.weight, P) * (1 - P), module.bias)


def bias_too(module, x):
    """Wrong here: biases are dropped."""
    return linear(x, dropout(module.weight, P), dropout(module.bias, P))


def check_masks(forward):
    """The weights behind the outputs are recovered by solving for them: 8 rows, 5 unknowns."""
    module = layer()
    x = rows()
    extended = torch.cat([x, torch.ones(8, 1, dtype=x.dtype)], dim=1)
    torch.manual_seed(3)
    total = torch.zeros(4, 6, dtype=x.dtype)
    draws = 4000
    with torch.no_grad():
        for _ in range(draws):
            solution = torch.linalg.lstsq(extended, forward(module, x)).solution.T
            weight, bias = solution[:, :5], solution[:, 5]
            torch.testing.assert_close(bias, module.bias)
            ratio = weight / module.weight
            near = (ratio > 0.5).double() / (1 - P)
            torch.testing.assert_close(ratio, near, rtol=1e-8, atol=1e-8)
            total += solution
    mean = (total / draws)[:, :5] / module.weight.detach()
    # Five standard errors of masks that are 1/(1 − p) with probability 1 − p.
    assert float((mean - 1).abs().max()) < 5 * (P / (1 - P) / draws) ** 0.5


def test_weights_are_masked_once_per_batch_and_unbiased():
    check_masks(lambda module, x: module(x))


@pytest.mark.parametrize("wrong", [of_inputs, per_row, unscaled, bias_too])
def test_a_wrong_mask_is_found(wrong):
    with pytest.raises(AssertionError):
        check_masks(wrong)


def test_the_gradient_is_masked_with_the_same_mask():
    module, x = layer(), rows()
    torch.manual_seed(5)
    module(x).square().sum().backward()
    torch.manual_seed(5)
    mask = dropout(torch.ones_like(module.weight), P)
    y = x @ (mask * module.weight.detach()).T + module.bias.detach()
    torch.testing.assert_close(module.weight.grad, mask * (2 * y.T @ x), rtol=1e-12, atol=1e-12)
    assert (module.weight.grad == 0).any()


def test_evaluation_and_zero_are_a_linear_layer():
    module, x = layer(), rows()
    expected = linear(x, module.weight, module.bias)
    assert torch.equal(module.eval()(x), expected)
    module = layer(0.0)
    assert torch.equal(module(x), linear(x, module.weight, module.bias))


def test_a_second_pass_from_the_same_state_has_the_same_mask():
    module, x = layer(), rows()
    replay = Replay(torch.device("cpu"))
    first = module(x)
    with replay.again():
        assert torch.equal(module(x), first)
    assert not torch.equal(module(x), first)


@pytest.mark.parametrize("backbone", [MLP, ResidualMLP])
def test_networks_keep_their_names_and_start_values(backbone):
    nets = []
    for p in (0.0, P):
        torch.manual_seed(0)
        nets.append(backbone(5, width=8, depth=2, dropout=0.0, drop_connect=p))
    plain, masked = nets
    assert not any(isinstance(module, DropConnect) for module in plain.modules())
    assert "drop_connect" not in plain.architecture
    assert masked.architecture["drop_connect"] == P
    kinds = [type(module) for module in masked.modules() if isinstance(module, nn.Linear)]
    assert kinds
    assert set(kinds) == {DropConnect}
    assert list(plain.state_dict()) == list(masked.state_dict())
    x = rows().float()
    assert torch.equal(plain.eval()(x), masked.eval()(x))
    assert not torch.equal(masked.train()(x), masked.eval()(x))


def test_penalties_act_on_the_weights_behind_the_mask():
    """A proximal step shrinks every weight, the dropped ones of the last batch too."""
    module = layer()
    before = module.weight.detach().clone()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    penalties = penalise(module, [L1(0.02)], optimizer)
    module(rows()).sum().backward()
    step = before - 0.5 * module.weight.grad
    optimizer.step()
    penalties.prox_()
    expected = step.sign() * (step.abs() - 0.01).clamp(min=0)
    torch.testing.assert_close(module.weight.detach(), expected, rtol=1e-12, atol=1e-12)


def test_task_gradients_are_those_of_the_masked_weights():
    """Few rows and wide layers: the engine compares gradients of linear layers unformed."""
    torch.manual_seed(0)
    backbone = MLP(64, width=64, depth=2, dropout=0.0, drop_connect=0.5).double()
    heads = [nn.Linear(64, 1).double() for _ in range(3)]
    x = rows(3, 64)

    def losses():
        torch.manual_seed(2)
        features = backbone(x)
        return [head(features).square().mean() for head in heads]

    report = MultiTaskBackward(UPGrad())(losses())
    weights = list(backbone.parameters())
    parts = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in losses()]
    jacobian = torch.stack([torch.cat([g.flatten() for g in part]) for part in parts])
    torch.testing.assert_close(report.gramian, jacobian @ jacobian.T, rtol=1e-10, atol=1e-14)


def test_bundles_and_schedules_know_it():
    tasks = [Regression("a").fit(np.arange(4.0))]
    model = MultiTaskModel.hard(MLP(5, width=8, depth=2, dropout=0.0, drop_connect=P), tasks)
    again = build_model(describe_architecture(model), group_tasks(tasks))
    again.load_state_dict(model.state_dict())
    x = rows().float()
    found, expected = (m.eval()(x).outputs["a"] for m in (again, model))
    assert torch.equal(found, expected)
    schedule = DropoutSchedule(model, fade([(0.0, 1.0), (1.0, 0.0)]))
    schedule.apply(0.5)
    assert [m.p for m in model.modules() if isinstance(m, DropConnect)] == [P / 2] * 2
    schedule.apply(1.0)
    assert torch.equal(model.train()(x).outputs["a"], expected)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_probability_is_checked(p):
    for make in (
        lambda: DropConnect(2, 2, p),
        lambda: MLP(2, width=8, drop_connect=p),
        lambda: ResidualMLP(2, width=8, drop_connect=p),
    ):
        with pytest.raises(InvalidArgument, match="drop_connect"):
            make()
    with pytest.raises(InvalidArgument, match="inputs"):
        DropConnect(0, 2, 0.1)
