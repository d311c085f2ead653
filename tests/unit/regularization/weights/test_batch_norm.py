"""Renewed running statistics: whose mode changes, and what is given back."""

import pytest
import torch
from torch import nn

from polytask.backbones import MLP, ResidualMLP
from polytask.backbones.layers import BatchNorm
from polytask.data.batch import Batch
from polytask.regularization.weights import update_batch_norm


def batches(*sizes: int) -> list[Batch]:
    torch.manual_seed(3)
    inputs = [5 + 2 * torch.randn(size, 4) for size in sizes]
    return [Batch(piece, {}, {}, None, torch.arange(len(piece))) for piece in inputs]


class Nested(nn.Module):
    """A normalisation deep inside, next to dropout and beside an untouched part."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, 4))
        self.block = nn.Sequential(BatchNorm(4), nn.ReLU(), nn.Dropout(dropout))
        self.last = nn.BatchNorm1d(4, momentum=0.25)
        self.modes: list[dict[str, bool]] = []

    def forward(self, inputs):
        self.modes.append({name: module.training for name, module in self.named_modules()})
        return self.last(self.block(self.first(inputs)))


def statistics(model: nn.Module) -> list[torch.Tensor]:
    return [buffer.clone() for buffer in model.buffers()]


def test_dropout_stays_off():
    """Zeroed and scaled units have a larger variance than what evaluation sees."""
    found = []
    for dropout in (0.0, 0.5):
        torch.manual_seed(0)
        model = Nested(dropout)
        update_batch_norm(model, batches(32, 32))
        assert all(not on for name, on in model.modes[0].items() if name.endswith(("0.0", "2")))
        assert model.modes[0]["block.0"]
        assert model.modes[0]["block.0.norm"]
        assert model.modes[0]["last"]
        found.append(statistics(model))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_check_of_dropout_can_fail():
    """The whole model in train mode, as other libraries do it, gives other statistics."""
    from torch.optim.swa_utils import update_bn

    found = []
    for dropout in (0.0, 0.5):
        torch.manual_seed(0)
        model = Nested(dropout)
        update_bn([batch.inputs for batch in batches(32, 32)], model)
        found.append(statistics(model))
    assert not all(torch.allclose(a, b, rtol=0.05) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_modes_momentum_and_parameters_are_given_back(training):
    model = Nested(0.5).train(training)
    model.first.train(not training)
    modes = [module.training for module in model.modules()]
    parameters = [p.detach().clone() for p in model.parameters()]
    update_batch_norm(model, batches(8))
    assert [module.training for module in model.modules()] == modes
    assert (model.last.momentum, model.block[0].norm.momentum) == (0.25, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_modes_come_back_after_an_error():
    model = Nested(0.5).eval()
    with pytest.raises(RuntimeError):
        update_batch_norm(model, [Batch(torch.zeros(3, 9), {}, {}, None, torch.arange(3))])
    assert not any(module.training for module in model.modules())
    assert model.last.momentum == 0.25


def test_batches_weigh_the_same_and_the_past_nothing():
    model = BatchNorm(4)
    model(100 + torch.randn(50, 4))
    pieces = batches(16, 4)
    update_batch_norm(model, pieces)
    means = torch.stack([batch.inputs.mean(0) for batch in pieces])
    variances = torch.stack([batch.inputs.var(0) for batch in pieces])
    assert torch.allclose(model.norm.running_mean, means.mean(0), atol=1e-5)
    assert torch.allclose(model.norm.running_var, variances.mean(0), atol=1e-5)
    assert not torch.allclose(
        model.norm.running_mean, torch.cat([b.inputs for b in pieces]).mean(0), atol=1e-3
    )


def test_a_single_row_at_the_end_moves_nothing():
    found = []
    for sizes in ((16,), (16, 1)):
        model = BatchNorm(4)
        update_batch_norm(model, batches(*sizes))
        found.append(statistics(model))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("backbone", [MLP, ResidualMLP])
def test_backbones_with_batch_normalisation(backbone):
    torch.manual_seed(0)
    model = backbone(4, width=8, depth=2, normalization="batch", dropout=0.3).eval()
    before = statistics(model)
    update_batch_norm(model, batches(32, 32))
    assert before
    assert not any(torch.equal(a, b) for a, b in zip(before, statistics(model), strict=True))
    again = statistics(model)
    update_batch_norm(model, batches(32, 32))  # nothing random, nothing left from before
    assert all(torch.equal(a, b) for a, b in zip(again, statistics(model), strict=True))


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(4, 1),
        nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 1)),
        nn.BatchNorm1d(4, track_running_stats=False),
    ],
)
def test_models_without_running_statistics_run_nothing(model):
    def never():
        raise AssertionError
        yield

    update_batch_norm(model, never())


def test_the_random_stream_does_not_move():
    model = Nested(0.5)
    pieces = batches(8)
    state = torch.get_rng_state()
    update_batch_norm(model, pieces)
    assert torch.equal(torch.get_rng_state(), state)
