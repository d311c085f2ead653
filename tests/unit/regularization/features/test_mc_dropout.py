"""Dropout while predicting: nothing else moves, and all modes come back."""

import numpy as np
import pytest
import torch
from torch import nn

from polytask.backbones import MLP, Dropout, ResidualMLP, TabM
from polytask.backbones.base import Backbone
from polytask.errors import InvalidArgument
from polytask.regularization.features import mc_dropout, sample_outputs
from polytask.sharing import MultiTaskModel
from polytask.tasks import Regression

ROWS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def network(backbone: Backbone, head_dropout: float = 0.0) -> MultiTaskModel:
    torch.manual_seed(0)
    tasks = [Regression(name).fit(np.arange(4.0)) for name in ("a", "b")]
    return MultiTaskModel.hard(backbone, tasks, head_dropout=head_dropout)


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def normalised() -> MultiTaskModel:
    return network(MLP(3, width=32, depth=2, dropout=0.3, normalization="batch"))


@pytest.mark.parametrize("training", [True, False])
def test_only_dropout_is_on_and_modes_come_back(training):
    model = normalised().train(training)
    model.backbone.layers[0].train(not training)  # a mode of one module is kept too
    before = modes(model)
    with mc_dropout(model):
        on = [type(module) for module in model.modules() if module.training]
        assert on == [Dropout, Dropout]
    assert modes(model) == before
    with pytest.raises(RuntimeError, match="inside"), mc_dropout(model):
        raise RuntimeError("inside")
    assert modes(model) == before


def all_in_train_mode(model: nn.Module) -> None:
    """Wrong: running statistics move, and rows depend on each other."""
    model.train()(ROWS)


def right(model: nn.Module) -> None:
    sample_outputs(model, ROWS, 3)


def check_statistics(forward) -> None:
    model = normalised()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    forward(model)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_batch_norm_does_not_move():
    check_statistics(right)
    with pytest.raises(AssertionError):
        check_statistics(all_in_train_mode)


def test_samples_differ_and_their_mean_is_the_prediction_of_a_linear_model():
    """Of one linear layer the expectation over masks is the evaluation output."""
    model = network(MLP(3, width=16, depth=1, dropout=0.0), head_dropout=0.2).eval()
    torch.manual_seed(1)
    samples = sample_outputs(model, ROWS, 2000)["a"]
    assert samples.shape == (2000, 6, 2, 1)
    assert not samples.requires_grad
    expected = model(ROWS).outputs["a"].detach()
    error = (samples.mean(0) - expected).abs() / (samples.std(0) / 2000**0.5)
    assert float(error.max()) < 4.5


def test_members_are_averaged():
    backbone = TabM(3, width=16, depth=1, members=4, dropout=0.0)
    model = network(backbone, head_dropout=0.5).train()
    before = modes(model)
    samples = sample_outputs(model, ROWS, 3)["a"]
    assert samples.shape == (3, 6, 2, 1)
    assert not torch.equal(samples[0], samples[1])
    assert modes(model) == before


def test_heads_have_masks_of_their_own():
    """Two heads with equal weights differ only by their masks."""
    model = network(MLP(3, width=16, depth=1, dropout=0.3), head_dropout=0.5)
    (stack,) = model.heads.stacks
    stack.weight.data[1] = stack.weight.data[0]
    first, second = sample_outputs(model, ROWS, 4)["a"].unbind(2)
    assert not torch.allclose(first, second)
    stack.dropout = 0.0  # only the common masks of the backbone are left
    first, second = sample_outputs(model, ROWS, 4)["a"].unbind(2)
    torch.testing.assert_close(first, second)


def test_draws_from_the_global_generator():
    model = normalised()
    torch.manual_seed(3)
    first = sample_outputs(model, ROWS, 2)["a"]
    torch.manual_seed(3)
    assert torch.equal(first, sample_outputs(model, ROWS, 2)["a"])


def test_stochastic_depth_stays_off():
    backbone = ResidualMLP(3, width=16, depth=2, dropout=0.0, drop_path=0.5)
    model = network(backbone, head_dropout=1e-9)
    samples = sample_outputs(model, ROWS, 5)["a"]
    torch.testing.assert_close(samples, model.eval()(ROWS).outputs["a"].expand_as(samples))


def test_a_model_without_dropout_is_refused():
    model = network(MLP(3, width=16, depth=1, dropout=0.0))
    with pytest.raises(InvalidArgument, match="have dropout"):
        sample_outputs(model, ROWS, 2)
    with pytest.raises(InvalidArgument, match="samples"):
        sample_outputs(normalised(), ROWS, 0)
