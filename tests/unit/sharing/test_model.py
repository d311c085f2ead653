"""MultiTaskModel: shapes, subsets, roles, and the check of rows."""

import numpy as np
import pytest
import torch
from torch import nn

from polytask.backbones import MLP, Backbone, ResidualMLP
from polytask.errors import InvalidArgument, UnknownName
from polytask.optim import Kind, OptimizerSpec, Role, check_binding
from polytask.sharing import HardSharing, MultiTaskModel, Shared, SharingArchitecture, infer_roles
from polytask.tasks import Regression, group_tasks


class Mixing(Backbone):
    """The tutorial's reshape: correct only for the batch sizes that fail."""

    def __init__(self):
        super().__init__()
        self.width = 6
        self.layer = nn.Linear(6, 6)

    def forward(self, inputs):
        return self.layer(inputs.view(-1, 6))


def test_outputs_of_every_group(tasks):
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks)
    output = model(torch.randn(7, 3))
    shapes = {name: tuple(tensor.shape) for name, tensor in output.outputs.items()}
    assert shapes == {"age": (7, 2, 1), "sex": (7, 2, 1), "stage": (7, 1, 3)}
    (tap,) = output.shared.taps
    assert all(tensor is tap for tensor in output.shared.representations.values())
    assert output.shared.penalties == {}


def test_subsets(tasks):
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks).eval()
    x = torch.randn(7, 3)
    everything, some = model(x).outputs, model(x, ["ill", "stage"]).outputs
    assert set(some) == {"sex", "stage"}
    assert torch.equal(some["sex"], everything["sex"][:, 1:])
    assert torch.equal(some["stage"], everything["stage"])
    assert set(model(x, ["ill"]).shared.representations) == {"ill"}
    with pytest.raises(UnknownName, match=r"Did you mean 'dose\.mg'"):
        model(x, ["dosemg"])
    with pytest.raises(InvalidArgument, match="at least one"):
        model(x, [])


def test_separate_heads(tasks):
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks, separate=["dose.mg"])
    assert [group.name for group in model.groups] == ["age", "sex", "dose.mg", "stage"]
    spec = OptimizerSpec(learning_rate=1.0, rates={"task:dose.mg": 0.5})
    optimizer = spec.build(model.roles())
    slow = [g["param_names"] for g in optimizer.param_groups if g["lr"] == 0.5]
    assert [name for names in slow for name in names] == [
        "heads.stacks.2.weight",
        "heads.stacks.2.bias",
    ]
    check_binding(optimizer, model)
    with pytest.raises(InvalidArgument, match="separate"):
        spec.build(MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks).roles())


@pytest.mark.parametrize("kind", [MLP, ResidualMLP])
@pytest.mark.parametrize("normalization", ["none", "layer", "batch"])
def test_declared_roles_are_what_one_backward_per_task_finds(kind, normalization, tasks):
    backbone = kind(3, [5, 9], width=8, depth=2, normalization=normalization)
    model = MultiTaskModel.hard(backbone, tasks, separate=["ill"])
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 5, (6, 2), generator=generator)
    inputs = {"numeric": torch.randn(6, 3, generator=generator), "categories": codes}
    declared = {row.name: row for row in model.roles()}
    parameters = dict(model.named_parameters())
    assert set(declared) == set(parameters)
    assert all(declared[name].parameter is p for name, p in parameters.items())
    reached = {name: set() for name in parameters}
    for group in model.groups:
        for index, task in enumerate(group.tasks):
            model.zero_grad(set_to_none=True)
            model(inputs).outputs[group.name][:, index].sum().backward()
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    reached[name].add(task.name)
    assert reached == {name: set(row.tasks) for name, row in declared.items()}
    kinds = {row.kind for row in declared.values()}
    expected = {Kind.WEIGHT, Kind.BIAS, Kind.EMBEDDING, Kind.MISSING}
    assert kinds == (expected if normalization == "none" else expected | {Kind.NORM})
    roles = {name: row.role for name, row in declared.items()}
    assert all((role is Role.HEAD) == name.startswith("heads.") for name, role in roles.items())


def test_inferred_roles_agree_with_declared_ones(tasks, example):
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks)
    inferred = infer_roles(model, model.groups, example)
    assert {row.name: row for row in inferred} == {row.name: row for row in model.roles()}


def test_one_task_is_a_group_of_one():
    task = Regression("y").fit(np.arange(4.0))
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1), [task])
    assert model(torch.zeros(1, 3)).outputs["y"].shape == (1, 1, 1)
    assert all(row.tasks == {"y"} for row in model.roles())
    assert not any(row.shared for row in model.roles())


def test_tied_parameters_have_one_row(tasks):
    backbone = MLP(8, width=8, depth=2)
    layers = [m for m in backbone.modules() if isinstance(m, nn.Linear)]
    layers[1].weight = layers[0].weight
    model = MultiTaskModel.hard(backbone, tasks)
    rows = model.roles()
    assert len({id(row.parameter) for row in rows}) == len(rows)
    assert len(rows) == len(list(model.parameters()))
    check_binding(OptimizerSpec().build(rows), model)


def test_a_tensor_tied_between_two_heads_belongs_to_both_tasks():
    tasks = [Regression(name).fit(np.arange(4.0)) for name in ("a", "b")]
    model = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks, separate=["b"])
    model.heads.stacks[1].weight = model.heads.stacks[0].weight
    rows = {row.name: row for row in model.roles()}
    assert rows["heads.stacks.0.weight"].tasks == {"a", "b"}
    assert rows["heads.stacks.1.bias"].tasks == {"b"}
    assert "heads.stacks.1.weight" not in rows


def test_an_architecture_that_forgets_a_parameter_is_found(tasks):
    class Forgetful(SharingArchitecture):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, features, tasks=None):
            z = self.layer(features)
            return Shared(dict.fromkeys(["age", "sex", "dose.mg", "ill", "stage"], z), (z,), {}, {})

        def width(self, task):
            return 8

        def roles(self):
            return []

    model = MultiTaskModel(MLP(3, width=8, depth=1), Forgetful(), group_tasks(tasks))
    with pytest.raises(InvalidArgument, match=r"sharing\.layer\.weight"):
        model.roles()


def test_mixed_rows_are_refused_at_the_joint(tasks):
    """Four rows of nine numbers silently become six rows of six."""
    model = MultiTaskModel(Mixing(), HardSharing([t.name for t in tasks], 6), group_tasks(tasks))
    assert Mixing()(torch.zeros(4, 9)).shape == (6, 6)
    with pytest.raises(InvalidArgument, match=r"`Mixing`.*\[6, 6\] for 4 rows.*flatten\(1\)"):
        model(torch.zeros(4, 9))


def test_state_round_trip(tasks):
    first, second = (MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks).eval() for _ in range(2))
    x = torch.randn(5, 3)
    assert not torch.equal(first(x).outputs["age"], second(x).outputs["age"])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x).outputs["age"], second(x).outputs["age"])


def test_export(tasks):
    """The model holds nothing that torch.export could not trace."""
    model = MultiTaskModel.hard(MLP(3, [5, 12], width=8, depth=1), tasks).eval()
    inputs = {"numeric": torch.randn(4, 3), "categories": torch.zeros(4, 2, dtype=torch.int64)}
    exported = torch.export.export(model, (inputs,)).module()
    expected = model(inputs).outputs
    for name, tensor in exported(inputs).outputs.items():
        assert torch.allclose(tensor, expected[name], atol=1e-6)


def test_the_forward_never_reads_a_value_back(tasks):
    """Meta tensors have no values: `.item()` or a branch on one would raise."""
    model = MultiTaskModel.hard(MLP(3, [5, 12], width=8, depth=1), tasks).to("meta")
    inputs = {
        "numeric": torch.zeros(4, 3, device="meta"),
        "categories": torch.zeros(4, 2, dtype=torch.int64, device="meta"),
    }
    assert model(inputs).outputs["age"].shape == (4, 2, 1)
