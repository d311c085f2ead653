"""Backbones with members: heads of their own, losses of their own, one prediction."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from polytask.backbones import MLP, Backbone, TabM
from polytask.backbones.dropout import dropout
from polytask.errors import InvalidArgument
from polytask.optim import Kind, OptimizerSpec, Role, check_binding
from polytask.sharing import (
    HardSharing,
    Heads,
    MultiTaskModel,
    Shared,
    StackedHead,
    infer_roles,
)
from polytask.sharing.members import average_members
from polytask.tasks import Binary, Count, Multiclass, Multilabel, Regression, group_tasks

MEMBERS = 3


def disturbed(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.5)
    return module


def ensemble(tasks, **options):
    torch.manual_seed(0)
    backbone = TabM(3, width=8, depth=1, members=MEMBERS, dropout=0.0)
    return disturbed(MultiTaskModel.hard(backbone, tasks, **options))


def rows(count=7):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(2))


def every_kind():
    """Six kinds of tasks, three of them in one group."""
    labels = np.array([[0, 1], [1, 0], [1, 1], [0, 0]] * 2)
    return [
        Regression("a").fit(np.arange(8.0)),
        Regression("b", loss="huber").fit(np.arange(8.0) ** 2),
        Binary("c", class_weight="balanced", label_smoothing=0.1).fit(np.array([0, 1, 1, 1] * 2)),
        Multiclass("d", class_weight="balanced").fit(np.array(["x", "y", "z", "x"] * 2)),
        Multilabel("e", columns=("e1", "e2")).fit(labels),
        Count("f").fit(np.arange(8)),
        Regression("g").fit(-np.arange(8.0)),
    ]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("chosen", [None, [0, 3]])
def test_every_member_has_its_own_heads(outputs, common, chosen):
    head = disturbed(StackedHead(torch.zeros(4, outputs), 8, members=MEMBERS)).double()
    asked = [0, 1, 2, 3] if chosen is None else chosen
    draw = torch.Generator().manual_seed(1)
    inputs = [torch.randn(6, MEMBERS, 8, generator=draw, dtype=torch.float64) for _ in asked]
    inputs = [inputs[0]] * len(asked) if common else inputs
    found = head(inputs, chosen)
    assert found.shape == (6, MEMBERS, len(asked), outputs)
    for place, task in enumerate(asked):
        for member in range(MEMBERS):
            z, weight = inputs[place][:, member], head.weight[task, member]
            expected = functional.linear(z, weight, head.bias[task, member])
            torch.testing.assert_close(found[:, member, place], expected)
            other = functional.linear(z, head.weight[task, member - 1], head.bias[task, member])
            assert not torch.allclose(found[:, member, place], other, atol=1e-3)


def test_members_start_at_the_training_distribution_with_weights_of_their_own():
    head = StackedHead(torch.tensor([[1.0], [2.0]]), 64, members=MEMBERS)
    assert head.weight.shape == (2, MEMBERS, 1, 64)
    assert torch.equal(head.bias[:, :, 0], torch.tensor([[1.0] * MEMBERS, [2.0] * MEMBERS]))
    assert head.weight.abs().max() <= 0.1 / 8
    assert len({tuple(w.tolist()) for w in head.weight.detach().flatten(0, 2)}) == 2 * MEMBERS


def test_one_member_is_what_it_was():
    """Shapes, start values and random state of heads without members."""
    torch.manual_seed(3)
    head = StackedHead(torch.zeros(2, 1), 8)
    after = torch.rand(1)
    torch.manual_seed(3)
    expected = nn.init.uniform_(torch.empty(2, 1, 8), -0.1 / 8**0.5, 0.1 / 8**0.5)
    assert torch.equal(head.weight, expected)
    assert torch.equal(after, torch.rand(1))
    assert head.bias.shape == (2, 1)


def test_train_mode_gives_members_and_eval_mode_their_average(tasks):
    model = ensemble(tasks)
    x = rows()
    shapes = {name: tuple(y.shape) for name, y in model(x).outputs.items()}
    assert shapes == {"age": (7, 3, 2, 1), "sex": (7, 3, 2, 1), "stage": (7, 3, 1, 3)}
    several, model = model(x).outputs, model.eval()
    one = model(x).outputs
    assert {name: tuple(y.shape) for name, y in one.items()} == {
        "age": (7, 2, 1),
        "sex": (7, 2, 1),
        "stage": (7, 1, 3),
    }
    mean = several["age"].mean(1)
    torch.testing.assert_close(one["age"], mean)
    chance = several["sex"].sigmoid().mean(1)
    torch.testing.assert_close(one["sex"].sigmoid(), chance)
    chances = several["stage"].softmax(-1).mean(1)
    torch.testing.assert_close(one["stage"].softmax(-1), chances)
    # The mutation: averaging logits.
    assert not torch.allclose(several["sex"].mean(1).sigmoid(), chance, atol=1e-3)
    assert not torch.allclose(several["stage"].mean(1).softmax(-1), chances, atol=1e-3)


def test_the_average_of_a_group_is_the_average_of_each_task():
    for group in group_tasks(every_kind()):
        outputs = torch.randn(5, MEMBERS, len(group.tasks), group.outputs)
        found = average_members(outputs, group)
        for place, task in enumerate(group.tasks):
            expected = task.average(outputs[:, :, place].transpose(0, 1))
            assert torch.equal(found[:, place], expected)


def test_losses_of_members_equal_a_loop_over_them():
    """One call on a target that is expanded over the members, for every kind of task."""
    generator = torch.Generator().manual_seed(0)
    for group in group_tasks(every_kind()):
        k = len(group.tasks)
        outputs = torch.randn(8, MEMBERS, k, group.outputs, generator=generator)
        values = {1: np.arange(8), 3: np.array(["x", "y", "z", "x"] * 2)}.get(group.outputs)
        if group.name == "c":
            values = values % 2
        if group.name == "e":
            values = np.array([[0, 1], [1, 0], [1, 1], [0, 0]] * 2)
        target = torch.stack([task.encode(values)[0] for task in group.tasks], dim=1)
        expanded = target.unsqueeze(1).expand(-1, MEMBERS, *target.shape[1:])
        found = group.loss(outputs, expanded)
        looped = torch.stack([group.loss(outputs[:, m], target) for m in range(MEMBERS)], dim=1)
        assert found.shape == (8, MEMBERS, k)
        torch.testing.assert_close(found, looped)


def test_the_gradient_is_that_of_the_mean_of_the_losses():
    """Members are trained apart; the loss of the mean is another objective."""
    task = Binary("y").fit(np.array([0, 1, 1, 0]))
    model = ensemble([task])
    x, target = rows(), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0])[:, None]
    (group,) = model.groups
    expanded = target.unsqueeze(1).expand(-1, MEMBERS, -1)
    parameters = list(model.parameters())
    grads = lambda loss: torch.autograd.grad(loss, parameters)  # noqa: E731
    found = grads(group.loss(model(x).outputs["y"], expanded).mean())
    apart = [grads(group.loss(model(x).outputs["y"][:, m], target).mean()) for m in range(MEMBERS)]
    for ours, *each in zip(found, *apart, strict=True):
        torch.testing.assert_close(ours, sum(each) / MEMBERS)
    model.eval()
    hidden = grads(group.loss(model(x).outputs["y"], target).mean())
    assert max((a - b).abs().max() for a, b in zip(found, hidden, strict=True)) > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_subsets(tasks, training):
    model = ensemble(tasks, separate=["ill"]).train(training)
    x = rows()
    everything, some = model(x).outputs, model(x, ["ill", "dose.mg"]).outputs
    assert set(some) == {"ill", "age"}
    assert torch.equal(some["ill"], everything["ill"])
    assert torch.equal(some["age"], everything["age"][..., 1:, :])
    assert [group.name for group in model.groups] == ["age", "sex", "ill", "stage"]


def test_roles_and_rates(tasks, example):
    model = ensemble(tasks, separate=["ill"])
    declared = {row.name: row for row in model.roles()}
    assert set(declared) == {name for name, _ in model.named_parameters()}
    assert declared["heads.stacks.0.weight"].tasks == {"age", "dose.mg"}
    assert declared["heads.stacks.0.bias"].kind is Kind.BIAS
    assert declared["backbone.layers.0.input_scale"].role is Role.BACKBONE
    inferred = {row.name: row for row in infer_roles(model, model.groups, example)}
    assert inferred == declared
    optimizer = OptimizerSpec(rates={"task:ill": 0.5}).build(model.roles())
    check_binding(optimizer, model)


def test_a_task_reaches_its_own_slice_alone(tasks):
    """The first axis of a stacked head is the task, with members too."""
    model = ensemble(tasks)
    model(rows()).outputs["age"][:, :, 1].sum().backward()
    gradient = model.heads.stacks[0].weight.grad
    assert gradient[0].abs().max() == 0
    assert (gradient[1].flatten(1).abs().amax(1) > 0).all()


class Miscounting(Backbone):
    """Says three members and returns another shape."""

    def __init__(self, shape):
        super().__init__()
        self.width = 8
        self.members = MEMBERS
        self.shape = shape

    def forward(self, inputs):
        return inputs.new_zeros(len(inputs), *self.shape)


@pytest.mark.parametrize("shape", [(8,), (2, 8), (MEMBERS, 8, 1)])
def test_another_number_of_members_is_refused(tasks, shape):
    model = MultiTaskModel.hard(Miscounting(shape), tasks)
    with pytest.raises(InvalidArgument, match=r"Miscounting.*\[rows, 3, width\]"):
        model(rows())


def test_no_rows(tasks):
    model = ensemble(tasks)
    assert model(rows(0)).outputs["age"].shape == (0, 3, 2, 1)
    assert model.eval()(rows(0)).outputs["stage"].shape == (0, 1, 3)


def test_export_and_meta_tensors(tasks):
    model = ensemble(tasks).eval()
    exported = torch.export.export(model, (rows(4),)).module()
    expected = model(rows(4)).outputs
    for name, tensor in exported(rows(4)).outputs.items():
        torch.testing.assert_close(tensor, expected[name])
    meta = copy.deepcopy(model).to("meta")
    assert meta(torch.zeros(4, 3, device="meta")).outputs["age"].shape == (4, 2, 1)


def constant_features(tasks, sharing=HardSharing, **options):
    """Heads of weight one on ones: an output counts the units that are left."""
    names = [task.name for task in tasks]
    heads = Heads(group_tasks(tasks), sharing(names, 400), **options)
    with torch.no_grad():
        for stack in heads.stacks:
            stack.weight.fill_(1.0)
            stack.bias.zero_()
    return heads, names


@pytest.mark.parametrize("members", [1, MEMBERS])
@pytest.mark.parametrize("common", [True, False])
def test_every_head_has_a_mask_of_its_own(tasks, members, common):
    torch.manual_seed(0)
    heads, names = constant_features(tasks, members=members, dropout=0.25)
    ones = torch.ones((50, 400) if members == 1 else (50, members, 400), requires_grad=True)
    own = [ones if common else ones.clone() for _ in names]
    shared = Shared(dict(zip(names, own, strict=True)), (ones,), {}, {})
    output = heads(shared)["age"]
    assert output.shape == ((50, 2, 1) if members == 1 else (50, members, 2, 1))
    first, second = output.unbind(-2)
    # Kept units count 1/(1 − 0.25), and the two heads of one row keep different ones.
    assert abs(first.mean() - 400) < 4 * 400 * (1 / 3 / 400 / first.numel()) ** 0.5
    correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    assert not torch.equal(first, second)
    assert abs(correlation) < 4 / first.numel() ** 0.5
    # The mutation: one mask for both heads.
    masked = Shared(dict.fromkeys(names, dropout(ones, 0.25)), (ones,), {}, {})
    first_of_one, second_of_one = heads.eval()(masked)["age"].unbind(-2)
    torch.testing.assert_close(first_of_one, second_of_one)
    # Each head's gradient passes through its own mask.
    first.sum().backward()
    assert ones.grad.unique().tolist() == pytest.approx([0.0, 4 / 3])


@pytest.mark.parametrize("members", [1, MEMBERS])
def test_head_dropout_ends_with_training(tasks, members):
    def model(p):
        torch.manual_seed(0)
        backbone = MLP(3, width=8, depth=1, dropout=0.0)
        if members > 1:
            backbone = TabM(3, width=8, depth=1, members=members, dropout=0.0)
        return disturbed(MultiTaskModel.hard(backbone, tasks, head_dropout=p))

    with_mask, without = model(0.5), model(0.0)
    trained, plain = with_mask(rows()).outputs["age"], without(rows()).outputs["age"]
    assert trained.shape == plain.shape
    assert not torch.allclose(trained, plain)
    one = with_mask.eval()(rows()).outputs
    for name, tensor in without.eval()(rows()).outputs.items():
        assert torch.equal(one[name], tensor)


@pytest.mark.parametrize("members", [1, MEMBERS])
def test_gradients_under_private_dropout_equal_a_loop(members):
    head = disturbed(StackedHead(torch.zeros(3, 2), 8, members=members, dropout=0.5)).double()
    shape = (6, 8) if members == 1 else (6, members, 8)
    z = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(5)
    found = torch.autograd.grad((head([z] * 3) ** 2).sum(), [z, head.weight])
    torch.manual_seed(5)
    masked = dropout(z.expand(3, *shape), 0.5)
    equation = "nw,ow->no" if members == 1 else "nmw,mow->nmo"
    looped = [
        torch.einsum(equation, z_j, w_j) + b_j
        for z_j, w_j, b_j in zip(masked, head.weight, head.bias, strict=True)
    ]
    expected = torch.autograd.grad(sum((y**2).sum() for y in looped), [z, head.weight])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_head_dropout_is_a_probability(tasks, value):
    with pytest.raises(InvalidArgument, match="head_dropout"):
        MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks, head_dropout=value)
    with pytest.raises(InvalidArgument, match="members"):
        StackedHead(torch.zeros(1, 1), 4, members=0)
