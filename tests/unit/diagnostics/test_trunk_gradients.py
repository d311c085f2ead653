"""Norms and cosines of the tasks' gradients at the shared weights."""

import numpy as np
import pytest
import torch

from polytask.backbones import MLP
from polytask.diagnostics import measure_trunk_gradients
from polytask.diagnostics.trunk_gradients import MAX_TASKS
from polytask.optim import Role
from polytask.sharing import MultiTaskModel
from polytask.tasks import Regression, group_tasks
from polytask.tasks.base import masked_sums


@pytest.fixture
def fitted(table):
    torch.manual_seed(0)
    inputs = table.batch.inputs
    backbone = MLP(inputs["numeric"].shape[1], [7], width=32, depth=2, dropout=0.5)
    return MultiTaskModel.hard(backbone, table.tasks), table


def expected(model, table):
    """The slow way: a fresh forward and `backward` per task."""
    model.eval()
    found = []
    for index, task in enumerate(table.tasks):
        model.zero_grad()
        group = next(group for group in table.groups if index in group.indices)
        place = group.indices.index(index)
        loss = group.loss(
            model(table.batch.inputs).outputs[group.name], table.batch.targets[group.name]
        )
        sums, counts = masked_sums(loss, table.batch.masks[group.name], table.batch.row_weights)
        (sums / counts)[place].backward()
        shared = [i.parameter for i in model.roles() if i.role is not Role.HEAD]
        found.append(torch.cat([p.grad.flatten() for p in shared]).double())
        assert task.name
    model.zero_grad()
    return torch.stack(found)


def test_gradients_are_those_of_separate_backward_passes(fitted):
    model, table = fitted
    found = measure_trunk_gradients(model, table.batch, table.groups, model.roles())
    reference = expected(model, table)
    assert found.tasks == tuple(task.name for task in table.tasks)
    assert found.rows == 300
    assert found.parameters == reference.shape[1]
    norms = torch.linalg.vector_norm(reference, dim=1)
    assert found.norms == pytest.approx(norms.tolist(), rel=1e-4)
    cosines = reference @ reference.mT / norms.outer(norms)
    assert np.array(found.cosines) == pytest.approx(cosines.numpy(), abs=2e-4)


def test_dropout_would_be_noticed(fitted):
    """The mutant measures in train mode."""
    model, table = fitted
    first = measure_trunk_gradients(model.train(), table.batch, table.groups, model.roles())
    second = measure_trunk_gradients(model.train(), table.batch, table.groups, model.roles())
    assert first == second
    model.eval_ = model.eval
    model.eval = lambda: model
    mutant = measure_trunk_gradients(model.train(), table.batch, table.groups, model.roles())
    assert mutant.norms != pytest.approx(first.norms, rel=1e-3)


def test_nothing_is_left_behind(fitted):
    model, table = fitted
    model.train().requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert measure_trunk_gradients(model, table.batch, table.groups, model.roles()) is not None
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    for name, value in model.named_parameters():
        assert value.grad is None
        assert not value.requires_grad
        assert torch.equal(value, before[name])


def test_opposite_tasks_have_cosine_minus_one(encode):
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, 0].double().numpy()
    tasks = [Regression(name).fit(y) for name in ("up", "down")]
    model = MultiTaskModel.hard(MLP(2, width=4, depth=1, activation="tanh", dropout=0.0), tasks)
    with torch.no_grad():
        head = model.heads.stacks[0]
        head.weight[1] = head.weight[0]
        head.bias.zero_()
    batch = encode(tasks, {"up": y, "down": y}, {"numeric": x})
    with torch.no_grad():
        output = model(batch.inputs).outputs["up"][:, 0, 0]
    batch.targets["up"][:, 1] = 2 * output - batch.targets["up"][:, 0]
    found = measure_trunk_gradients(model, batch, group_tasks(tasks), model.roles())
    assert found.cosines[0][1] == pytest.approx(-1.0, abs=1e-4)


def test_one_task_has_nothing_to_compare(table, encode):
    (task,) = table.tasks[:1]
    model = MultiTaskModel.hard(MLP(4, [7], width=4, depth=1, dropout=0.0), [task])
    batch = encode([task], table.values, table.batch.inputs)
    assert measure_trunk_gradients(model, batch, group_tasks([task]), model.roles()) is None


def test_a_task_without_labels_has_gradient_zero(fitted):
    model, table = fitted
    for group in table.groups:
        if "colour" in [task.name for task in group.tasks]:
            table.batch.masks[group.name][:] = False
    found = measure_trunk_gradients(model, table.batch, table.groups, model.roles())
    place = found.tasks.index("colour")
    assert found.norms[place] == 0
    assert found.cosines[place][0] is None


def test_of_many_tasks_only_some_are_measured(encode):
    rng = np.random.default_rng(0)
    values = {f"t{i}": rng.normal(size=20) for i in range(60)}
    tasks = [Regression(name).fit(value) for name, value in values.items()]
    model = MultiTaskModel.hard(MLP(2, width=4, depth=1, dropout=0.0), tasks)
    batch = encode(tasks, values, {"numeric": torch.randn(20, 2)})
    found = measure_trunk_gradients(model, batch, group_tasks(tasks), model.roles())
    assert len(found.tasks) == MAX_TASKS
