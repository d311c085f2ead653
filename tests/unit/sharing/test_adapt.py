"""adapt: any module of the user, checked on its first call."""

import warnings

import pytest
import torch
from torch import nn

from polytask.backbones import MLP
from polytask.errors import InvalidArgument, PolytaskWarning, UnknownName, Unsupported
from polytask.optim import Kind, OptimizerSpec, Role, check_binding
from polytask.sharing import AdaptedModel, MultiTaskModel, adapt, infer_roles
from polytask.tasks import group_tasks

SIZES = {"age": 1, "sex": 1, "dose.mg": 1, "ill": 1, "stage": 3}


class OwnHeads(nn.Module):
    """A trunk, a tower that two tasks read, own heads, a layer that nobody reads."""

    def __init__(self, sizes=SIZES, flat=(), scale=1):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.25))
        self.tower = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 8)
        self.sizes, self.flat, self.scale = sizes, flat, scale
        self.heads = nn.ModuleList(nn.Linear(8, size) for size in sizes.values())

    def forward(self, x):
        z = self.trunk(x)
        tower = torch.relu(self.tower(z))
        outputs = {}
        for name, head in zip(self.sizes, self.heads, strict=True):
            y = head(tower if name in ("age", "stage") else z)
            outputs[name] = y.flatten() if name in self.flat else y
        return outputs


def features(*extra):
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), *extra)


def test_the_heads_on_top_of_features_say_which_slice_is_whose(tasks, example):
    groups = group_tasks(tasks)
    rows = infer_roles(adapt(features(), groups, example), groups, example)
    orders = {row.name: row.order for row in rows}
    for index, group in enumerate(groups):
        names = tuple(task.name for task in group.tasks)
        assert orders[f"heads.stacks.{index}.weight"] == orders[f"heads.stacks.{index}.bias"]
        assert orders[f"heads.stacks.{index}.weight"] == names
    assert orders["module.0.weight"] == ()


def test_features_get_heads(tasks, example):
    groups = group_tasks(tasks)
    module = features()
    model = adapt(module, groups, example)
    output = model(example.inputs)
    shapes = {name: tuple(tensor.shape) for name, tensor in output.outputs.items()}
    assert shapes == {"age": (16, 2, 1), "sex": (16, 2, 1), "stage": (16, 1, 3)}
    assert torch.equal(output.shared.taps[0], module(example.inputs))
    assert list(model.state_dict()) == [
        "module.0.weight",
        "module.0.bias",
        *(f"heads.stacks.{i}.{part}" for i in range(3) for part in ("weight", "bias")),
    ]
    some = model(example.inputs, ["ill"])
    assert list(some.outputs) == ["sex"]
    assert torch.equal(some.outputs["sex"], output.outputs["sex"][:, 1:])


def test_own_heads_are_stacked_in_the_groups_order(tasks, example):
    groups = group_tasks(tasks)
    module = OwnHeads(flat=("sex", "dose.mg")).eval()
    model = adapt(module, groups, example)
    raw = module(example.inputs)
    output = model(example.inputs).outputs
    assert torch.equal(output["age"][:, 1, 0], raw["dose.mg"])
    assert torch.equal(output["sex"][:, 0, 0], raw["sex"])
    assert torch.equal(output["sex"][:, 1], raw["ill"])
    assert torch.equal(output["stage"][:, 0], raw["stage"])
    assert all(key.startswith("module.") for key in model.state_dict())
    some = model(example.inputs, ["ill", "stage"]).outputs
    assert torch.equal(some["sex"], output["sex"][:, 1:])
    assert set(some) == {"sex", "stage"}


def test_roles_come_from_one_backward_per_task(tasks, example):
    groups = group_tasks(tasks)
    model = adapt(OwnHeads(), groups, example)
    rows = {row.name: row for row in infer_roles(model, groups, example)}
    assert list(rows) == [name for name, _ in model.named_parameters()]
    everyone = set(SIZES)
    assert rows["module.trunk.0.weight"].tasks == everyone
    assert rows["module.trunk.1.weight"].kind is Kind.NORM
    assert rows["module.tower.weight"].tasks == {"age", "stage"}
    assert rows["module.tower.weight"].role is Role.BACKBONE
    assert rows["module.heads.1.weight"].tasks == {"sex"}
    assert rows["module.heads.1.weight"].role is Role.HEAD
    assert rows["module.unused.weight"].tasks == set()
    # A stack of all outputs would give zeros, not nothing, to the other tasks' heads.
    assert rows["module.heads.2.weight"].tasks == {"dose.mg"}
    check_binding(OptimizerSpec(rates={"task:sex": 2.0}).build(list(rows.values())), model)


def test_with_one_task_nothing_tells_a_head_from_a_trunk(tasks, example):
    groups = group_tasks(tasks[1:2])
    model = adapt(OwnHeads({"sex": 1}), groups, example)
    rows = infer_roles(model, groups, example)
    assert {row.role for row in rows} == {Role.BACKBONE}
    assert {row.name for row in rows if not row.tasks} == {
        f"module.{layer}.{part}" for layer in ("tower", "unused") for part in ("weight", "bias")
    }


def test_fused_heads_on_top_are_heads(tasks, example):
    groups = group_tasks(tasks)
    model = adapt(features(), groups, example)
    roles = {row.name: row.role for row in infer_roles(model, groups, example)}
    assert all((role is Role.HEAD) == name.startswith("heads.") for name, role in roles.items())


def test_frozen_parameters_have_no_tasks_and_stay_out(tasks, example):
    module = features()
    module.requires_grad_(False)
    groups = group_tasks(tasks)
    model = adapt(module, groups, example)
    rows = infer_roles(model, groups, example)
    assert rows[0].tasks == frozenset()
    check_binding(OptimizerSpec().build(rows), model)


def test_the_trial_leaves_no_trace(tasks, example):
    """Buffers, modes, gradients and the random stream are as before, also where eval counts."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = features(nn.BatchNorm1d(8), nn.Dropout(0.25))
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return torch.relu(self.body(x) + 0 * torch.rand(1))

    module = Counting()
    module.body[2].eval()
    modes = [part.training for part in module.modules()]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    groups = group_tasks(tasks)
    adapt(module, groups, example)  # its heads draw numbers, the trial must not
    torch.manual_seed(0)
    heads_only = adapt(module, groups, example)
    torch.manual_seed(0)
    expected = torch.get_rng_state()
    infer_roles(heads_only, groups, example)
    assert torch.equal(torch.get_rng_state(), expected)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(p.grad is None for p in module.parameters())
    assert not any(part._forward_hooks for part in module.modules())


def test_lazy_modules_find_their_size(tasks, example):
    module = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU())
    model = adapt(module, group_tasks(tasks), example)
    assert module[0].weight.shape == (8, 3)
    assert model(example.inputs).outputs["age"].shape == (16, 2, 1)


def test_heads_follow_the_modules_type(tasks, example):
    model = adapt(
        features().double(), group_tasks(tasks), example._replace(inputs=example.inputs.double())
    )
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_polytasks_own_models_come_back(tasks, example):
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks)
    assert adapt(model, model.groups, example) is model
    adapted = adapt(features(), group_tasks(tasks), example)
    assert isinstance(adapted, AdaptedModel)
    assert adapt(adapted, adapted.groups, example) is adapted
    with pytest.raises(InvalidArgument, match="asked for are"):
        adapt(model, group_tasks(tasks[:2]), example)


def test_features_that_end_in_linear_warn(tasks, example):
    with pytest.warns(PolytaskWarning, match="straight from a Linear"):
        adapt(features(nn.Linear(8, 8)), group_tasks(tasks), example)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapt(features(nn.Linear(8, 8), nn.Tanh()), group_tasks(tasks), example)
        adapt(OwnHeads(), group_tasks(tasks), example)


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


def outputs_for(x, **changes):
    made = {name: x.new_zeros(len(x), size) for name, size in SIZES.items()}
    made.update(changes)
    return {name: value for name, value in made.items() if value is not None}


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda x: x.reshape(-1, 6), InvalidArgument, r"one row of features.*\[4, 6\] for 8 rows"),
        (lambda x: x[:, :, None], InvalidArgument, r"features \[rows, width\].*\[8, 3, 1\]"),
        (lambda x: x.sum(), InvalidArgument, "one row of features"),
        (lambda x: (x, x), Unsupported, "got tuple"),
        (lambda x: None, Unsupported, "got NoneType"),
        (lambda x: outputs_for(x, sex=None), InvalidArgument, "'sex' is not among"),
        (lambda x: outputs_for(x, sexx=x), UnknownName, "Did you mean 'sex'"),
        (lambda x: outputs_for(x, sex=x), InvalidArgument, r"\[rows, 1\].*'sex'.*\[8, 3\]"),
        (lambda x: outputs_for(x, stage=x[:, 0]), InvalidArgument, r"\[rows, 3\].*'stage'"),
        (lambda x: outputs_for(x, stage=x[:6]), InvalidArgument, "the output 'stage'"),
        (lambda x: outputs_for(x, sex=1.0), Unsupported, "got float"),
        (lambda x: x["numeric"], Unsupported, r"a tensor \[8, 3\]"),
    ],
)
def test_what_a_module_returns_is_checked_first(make, error, sentence, tasks, example):
    with pytest.raises(error, match=sentence):
        adapt(Returns(make), group_tasks(tasks), example)


def test_a_module_that_cannot_take_a_mapping_is_told_its_keys(tasks, example):
    table = example._replace(inputs={"numeric": example.inputs})
    with pytest.raises(Unsupported, match=r"dictionary with 'numeric' \[8, 3\]"):
        adapt(features(), group_tasks(tasks), table)
    assert isinstance(
        adapt(Returns(lambda x: torch.relu(x["numeric"])), group_tasks(tasks), table), AdaptedModel
    )


def test_rows_are_checked_in_every_call_not_only_the_first(tasks, example):
    """A reshape that mixes rows may be right for the batch of the trial."""
    module = Returns(lambda x: x if len(x) == 8 else x.reshape(-1, 6))
    model = adapt(module, group_tasks(tasks), example)
    model(example.inputs[:8])
    with pytest.raises(InvalidArgument, match="one row of features"):
        model(example.inputs)


def test_a_width_that_changes_later_is_refused(tasks, example):
    module = Returns(lambda x: x if len(x) == 8 else x[:, :2])
    model = adapt(module, group_tasks(tasks), example)
    with pytest.raises(InvalidArgument, match=r"features \[rows, 3\]; got \[16, 2\]"):
        model(example.inputs)
