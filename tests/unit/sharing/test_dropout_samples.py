"""Multi-sample dropout: the mean of the losses of several masks, of one pass through the trunk."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from polytask.backbones import MLP, TabM
from polytask.backbones.dropout import dropout
from polytask.data.batch import Batch
from polytask.errors import InvalidArgument
from polytask.export.architecture import build_model, describe_architecture
from polytask.regularization.features import DropoutSchedule, sample_outputs
from polytask.regularization.inputs import Mixing
from polytask.sharing import MultiTaskModel
from polytask.tasks import Binary, Regression, group_tasks
from polytask.training.losses import example_of, training_sums
from polytask.training.measure import own_loss

P, SAMPLES = 0.25, 6


def tasks():
    numbers = [Regression(name).fit(np.arange(4.0)) for name in ("a", "b")]
    return [*numbers, Binary("c").fit(np.array([0, 1, 1, 1]))]


def network(backbone=None, samples=SAMPLES, p=P):
    torch.manual_seed(0)
    backbone = backbone or MLP(3, width=16, depth=2, dropout=0.0)
    return MultiTaskModel.hard(
        backbone, tasks(), head_dropout=p, dropout_samples=samples
    ).double()  # fmt: skip


def table(rows=9):
    draw = torch.Generator().manual_seed(4)
    x = torch.randn(rows, 3, generator=draw, dtype=torch.float64)
    numbers = torch.randn(rows, 2, generator=draw, dtype=torch.float64)
    labels = (torch.rand(rows, 1, generator=draw) < 0.5).double()
    masks = {"a": torch.rand(rows, 2, generator=draw) < 0.8, "c": torch.ones(rows, 1) > 0}
    return Batch(x, {"a": numbers, "c": labels}, masks, None, torch.arange(rows))


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()))


def sums_of(model, batch, loss=own_loss):
    """What an update adds up, with `loss` in the place of the library's."""
    outputs = model(batch.inputs).outputs
    pieces = []
    for group in model.groups:
        mask = batch.masks[group.name]
        values = loss(group, outputs[group.name], batch.targets[group.name])
        pieces.append((values * mask).sum(0))
    return torch.cat(pieces)


def by_hand(model, batch):
    """The formula, mask by mask, written with elementary operations on drawn masks."""
    z = model.backbone(batch.inputs)
    total = []
    for stack, group in zip(model.heads.stacks, model.groups, strict=True):
        k = len(group.tasks)
        losses = []
        for _ in range(SAMPLES):
            masks = dropout(z.new_ones(k, *z.shape), P)
            y = torch.einsum("krw,kow->rko", masks * z, stack.weight) + stack.bias
            y, target = y[..., 0], batch.targets[group.name]
            losses.append(
                (y - target) ** 2
                if group.name == "a"
                else functional.softplus(y) - y * target
            )  # fmt: skip
        mean = sum(losses) / SAMPLES
        total.append((mean * batch.masks[group.name]).sum(0))
    return torch.cat(total)


def loss_of_the_mean(group, output, target):
    """Wrong: the loss of the mean output, behind which masks can hide from each other."""
    return group.loss(output.mean(1), target)


def sum_over_masks(group, output, target):
    """Wrong: the objective grows with the number of masks."""
    return own_loss(group, output, target) * output.shape[1]


def first_mask(group, output, target):
    """Wrong: ordinary dropout."""
    return group.loss(output[:, 0], target)


def check_formula(loss):
    model, batch = network(), table()
    torch.manual_seed(7)
    found = sums_of(model, batch, loss)
    torch.manual_seed(7)
    expected = by_hand(model, batch)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    pairs = zip(gradients(model, found.sum()), gradients(model, expected.sum()), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_losses_of_the_masks_are_averaged():
    check_formula(own_loss)


@pytest.mark.parametrize("wrong", [loss_of_the_mean, sum_over_masks, first_mask])
def test_a_wrong_mean_is_found(wrong):
    with pytest.raises(AssertionError):
        check_formula(wrong)


@torch.no_grad()
def check_expectation(loss):
    """E (Σ_i w_i m_i z_i + b − y)² = (wz + b − y)² + p/(1 − p) Σ_i w_i² z_i² over masks m."""
    torch.manual_seed(0)
    task = Regression("a").fit(np.arange(4.0))
    backbone = MLP(3, width=16, depth=1, dropout=0.0)
    model = MultiTaskModel.hard(backbone, [task], head_dropout=P, dropout_samples=20_000).double()
    model.heads.stacks[0].weight.normal_()
    x, target = torch.ones(1, 3, dtype=torch.float64), torch.tensor([[0.3]]).double()
    z, (stack,) = model.backbone(x), model.heads.stacks
    clean = functional.linear(z, stack.weight[0], stack.bias[0])
    noise = P / (1 - P) * (stack.weight[0] ** 2 * z**2).sum()
    output = model(x).outputs["a"]
    spread = own_loss_of_masks(model.groups[0], output, target).std() / 20_000**0.5
    found = loss(model.groups[0], output, target)
    assert abs(float(found - (clean - target) ** 2 - noise)) < 5 * float(spread)


def own_loss_of_masks(group, output, target):
    return group.loss(output, target.unsqueeze(1).expand(-1, output.shape[1], -1))


def test_the_expectation_is_that_of_dropout():
    check_expectation(own_loss)
    with pytest.raises(AssertionError):
        check_expectation(loss_of_the_mean)


def test_the_trunk_runs_once_and_evaluation_is_what_it_was():
    model, batch = network(), table()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    found = model(batch.inputs).outputs
    assert len(calls) == 1
    assert {name: tuple(y.shape) for name, y in found.items()} == {
        "a": (9, SAMPLES, 2, 1),
        "c": (9, SAMPLES, 1, 1),
    }
    assert len({tuple(y.flatten().tolist()) for y in found["a"].unbind(1)}) == SAMPLES
    plain = network(samples=1)
    assert list(plain.state_dict()) == list(model.state_dict())
    for name, y in plain.eval()(batch.inputs).outputs.items():
        assert torch.equal(model.eval()(batch.inputs).outputs[name], y)


def test_chosen_tasks_have_samples_too():
    model, batch = network(), table()
    found = model(batch.inputs, ["b"]).outputs
    assert {name: tuple(y.shape) for name, y in found.items()} == {"a": (9, SAMPLES, 1, 1)}


def test_every_member_of_an_ensemble_has_every_mask():
    model = network(TabM(3, width=8, depth=1, members=3, dropout=0.0))
    batch = table()
    found = model(batch.inputs).outputs["a"]
    assert found.shape == (9, SAMPLES * 3, 2, 1)
    assert model.eval()(batch.inputs).outputs["a"].shape == (9, 2, 1)
    torch.manual_seed(3)
    sums = sums_of(model.train(), batch)
    torch.manual_seed(3)
    z = model.backbone(batch.inputs)
    (stack, _), (group, _) = model.heads.stacks, model.groups
    losses = []
    for _ in range(SAMPLES):
        masks = dropout(z.new_ones(2, *z.shape), P)
        y = torch.einsum("krmw,kmow->rmko", masks * z, stack.weight)
        y = y + stack.bias.transpose(0, 1)
        losses += [(y[:, m, :, 0] - batch.targets["a"]) ** 2 for m in range(3)]
    mean = sum(losses) / len(losses)
    expected = (mean * batch.masks[group.name]).sum(0)
    torch.testing.assert_close(sums[:2], expected, rtol=1e-12, atol=1e-12)


def test_mixed_rows_mix_the_mean_losses():
    model, batch = network(), table()
    draw = torch.Generator().manual_seed(1)
    mixing = Mixing(torch.randperm(9, generator=draw), torch.full((9,), 0.7).double())
    example = example_of(batch, mixing)
    torch.manual_seed(2)
    outputs = model(batch.inputs).outputs
    found = training_sums(outputs, example, model.groups, None)
    y, target = outputs["a"][..., 0], batch.targets["a"]
    expected = 0.0
    for sample in range(SAMPLES):
        own = (y[:, sample] - target) ** 2
        partner = (y[:, sample] - target[mixing.partner]) ** 2
        expected = expected + (0.7 * own + 0.3 * partner) / SAMPLES
    mask = batch.masks["a"] & batch.masks["a"][mixing.partner]
    torch.testing.assert_close(found[0], (expected * mask).sum(0), rtol=1e-7, atol=1e-7)


def test_dropout_while_predicting_draws_one_mask_a_time():
    model, batch = network(), table()
    drawn = sample_outputs(model, batch.inputs, 5)["a"]
    assert drawn.shape == (5, 9, 2, 1)
    assert not torch.equal(drawn[0], drawn[1])


def test_a_schedule_at_zero_leaves_one_output():
    model, batch = network(), table()
    DropoutSchedule(model, lambda _: 0.0).apply(1.0)
    assert model.train()(batch.inputs).outputs["a"].shape == (9, 2, 1)


def test_samples_without_dropout_are_refused():
    with pytest.raises(InvalidArgument, match="dropout_samples"):
        network(p=0.0)
    with pytest.raises(InvalidArgument, match="dropout_samples"):
        network(samples=0)


def test_a_bundle_names_it():
    model = network()
    described = describe_architecture(model)
    assert described["dropout_samples"] == SAMPLES
    again = build_model(described, group_tasks(tasks())).double()
    again.load_state_dict(model.state_dict())
    assert again.dropout_samples == SAMPLES
    assert "dropout_samples" not in describe_architecture(network(samples=1))
