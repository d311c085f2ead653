import pytest
import torch
from torch import nn

from polytask.diagnostics import collect, constant_outputs
from polytask.errors import InvalidArgument
from polytask.sharing.base import ModelOutput, Shared


class Heads(nn.Module):
    """One linear layer per group behind dropout, as a stand-in for a whole model."""

    def __init__(self, groups):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.heads = nn.ModuleList(nn.Linear(4, len(g.tasks) * g.outputs) for g in groups)
        self.groups = groups

    def forward(self, inputs):
        hidden = self.drop(inputs["numeric"])
        outputs = {
            g.name: head(hidden).view(len(hidden), len(g.tasks), g.outputs)
            for g, head in zip(self.groups, self.heads, strict=True)
        }
        return ModelOutput(outputs, Shared({}, (), {}, {}))


@pytest.fixture
def model(table):
    torch.manual_seed(0)
    return Heads(table.groups)


def test_runs_in_eval_mode_and_restores_every_module(table, model):
    model.train()
    model.heads.eval()
    first = collect(model, table.batch, table.groups)
    second = collect(model, table.batch, table.groups)
    for name in first.outputs:
        assert torch.equal(first.outputs[name], second.outputs[name]), "dropout was on"
        assert not first.outputs[name].requires_grad
    assert model.training
    assert model.drop.training
    assert not model.heads.training, "a module frozen in eval mode must stay so"


def test_mode_is_restored_after_a_failure(table, model):
    model.train()
    with pytest.raises(KeyError):
        collect(model, table.batch._replace(inputs={}), table.groups)
    assert model.training


def test_batches_equal_the_whole_table(table, model):
    whole = collect(model, table.batch, table.groups)
    batch = table.batch

    def part(start, stop):
        rows = slice(start, stop)
        return batch._replace(
            inputs={k: v[rows] for k, v in batch.inputs.items()},
            targets={k: v[rows] for k, v in batch.targets.items()},
            masks={k: v[rows] for k, v in batch.masks.items()},
            row_weights=batch.row_weights[rows],
            rows=batch.rows[rows],
        )

    pieces = collect(model, iter([part(0, 100), part(100, 300)]), table.groups)
    for name in whole.outputs:
        torch.testing.assert_close(pieces.outputs[name], whole.outputs[name])
        assert torch.equal(pieces.masks[name], whole.masks[name])
    assert torch.equal(pieces.row_weights, whole.row_weights)


def test_tasks_come_in_the_users_order_with_labelled_rows_only(table, model):
    outputs = collect(model, table.batch, table.groups)
    assert [task.name for task in outputs.tasks] == [task.name for task in table.tasks]
    for index, task in enumerate(table.tasks):
        found = outputs.of(index)
        _, mask = task.encode(table.values[task.name])
        assert torch.equal(found.rows, mask.nonzero().squeeze(-1))
        assert found.output.shape == (int(mask.sum()), task.outputs)
        assert torch.equal(found.weights, table.batch.row_weights[mask])


def test_constant_outputs_are_the_training_distribution(table, model):
    constant = constant_outputs(collect(model, table.batch, table.groups), table.tasks)
    for index, task in enumerate(table.tasks):
        assert torch.equal(constant.of(index).output[3], task.baseline())


def test_outputs_of_another_shape_are_refused(table, model):
    outputs = collect(model, table.batch, table.groups)
    wrong = {name: value[:-1] for name, value in outputs.outputs.items()}
    with pytest.raises(InvalidArgument, match="have shape"):
        outputs.with_outputs(wrong)


def test_no_rows_is_an_error(table, model):
    with pytest.raises(InvalidArgument, match="at least one row"):
        collect(model, [], table.groups)
