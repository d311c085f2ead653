"""Backbones: layers, dropout, shapes, warnings."""

import warnings

import pytest
import torch
from torch import nn

from polytask.backbones import MLP, ResidualMLP
from polytask.errors import InvalidArgument, PolytaskWarning, UnknownName

BOTH = [MLP, ResidualMLP]
ACTIVATIONS = ["relu", "gelu", "silu", "mish", "selu", "tanh"]


def inputs(rows=6):
    torch.manual_seed(0)
    return {"numeric": torch.randn(rows, 3), "categories": torch.randint(0, 6, (rows, 2))}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalization", ["none", "layer", "batch"])
def test_every_option_gives_one_vector_per_row(kind, activation, normalization):
    net = kind(3, [4, 9], width=16, depth=2, activation=activation, normalization=normalization)
    output = net(inputs())
    assert output.shape == (6, 16)
    assert net.width == 16
    output.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    norms = sum(isinstance(m, nn.LayerNorm | nn.BatchNorm1d) for m in net.modules())
    expected = 0 if normalization == "none" else 2 + (kind is ResidualMLP)
    assert norms == expected


@pytest.mark.parametrize("kind", BOTH)
def test_the_last_layer_is_an_activation(kind):
    """ReLU features are never negative; a trunk that ends in Linear would have negative ones."""
    net = kind(3, width=32, depth=2, dropout=0.0)
    features = net(torch.randn(64, 3))
    assert (features >= 0).all()
    assert (features == 0).any()


def test_mlp_equals_the_layers_written_out():
    torch.manual_seed(1)
    net = MLP(3, width=8, depth=2, dropout=0.0, normalization="layer").double()
    x = torch.randn(5, 3, dtype=torch.float64)
    first, second = (m for m in net.modules() if isinstance(m, nn.Linear))
    norms = [m for m in net.modules() if isinstance(m, nn.LayerNorm)]
    hidden = torch.relu(norms[0](x @ first.weight.T + first.bias))
    hidden = torch.relu(norms[1](hidden @ second.weight.T + second.bias))
    assert torch.allclose(net(x), hidden, atol=1e-12)


def test_skip_puts_the_input_beside_the_last_layer():
    plain = MLP(3, [4, 9], width=8, depth=2, dropout=0.0)
    wide = MLP(3, [4, 9], width=8, depth=2, dropout=0.0, skip=True)
    wide.load_state_dict(plain.state_dict())
    rows = wide.input(inputs())
    assert wide.width == 8 + wide.input.width
    assert torch.equal(wide(inputs()), torch.cat((plain(inputs()), rows), dim=1))
    assert "skip" not in plain.architecture
    assert wide.architecture["skip"] is True


def test_residual_mlp_equals_the_formula():
    torch.manual_seed(1)
    net = ResidualMLP(3, width=8, depth=2, dropout=0.0, normalization="layer").double()
    x = torch.randn(5, 3, dtype=torch.float64)
    hidden = net.stem(x)
    for block in net.blocks:
        norm, inner, _, outer = block
        hidden = hidden + outer(torch.relu(inner(norm(hidden))))
    expected = torch.relu(net.last[0](hidden))
    assert torch.allclose(net(x), expected, atol=1e-12)
    without_skip = torch.relu(net.last[0](net.blocks[1](net.blocks[0](net.stem(x)))))
    assert not torch.allclose(net(x), without_skip, atol=1e-3)


@pytest.mark.parametrize("kind", BOTH)
def test_dropout_follows_every_activation(kind):
    net = kind(3, width=16, depth=3, dropout=0.2)
    layers = [m for m in net.modules() if not list(m.children())]
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.ReLU):
            assert isinstance(layers[index + 1], nn.Dropout)
            assert layers[index + 1].p == 0.2
    off = kind(3, width=16, depth=3, dropout=0.0)
    assert not any(isinstance(m, nn.Dropout) for m in off.modules())


@pytest.mark.parametrize("kind", BOTH)
def test_one_row_and_eval_are_deterministic(kind):
    net = kind(3, [4, 9], width=16, depth=1, dropout=0.5).eval()
    table = inputs()
    one = {name: tensor[:1] for name, tensor in table.items()}
    assert torch.equal(net(table), net(table))
    assert torch.allclose(net(one), net(table)[:1], atol=1e-6)


@pytest.mark.parametrize("kind", BOTH)
def test_dropout_that_leaves_a_handful_warns(kind):
    with pytest.warns(PolytaskWarning, match=r"leaves 2\.5 units"):
        kind(3, width=5, depth=1, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind(3, width=3, depth=1, dropout=0.0)
        kind(3, width=10, depth=1, dropout=0.5)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"width": 0}, InvalidArgument, "width"),
        ({"depth": 0}, InvalidArgument, "depth"),
        ({"dropout": 1.0}, InvalidArgument, "dropout"),
        ({"activation": "rellu"}, UnknownName, "Did you mean 'relu'"),
        ({"normalization": "btach"}, UnknownName, "Did you mean 'batch'"),
    ],
)
def test_bad_options_are_refused(kind, arguments, error, word):
    with pytest.raises(error, match=word):
        kind(3, **arguments)


@pytest.mark.parametrize("kind", BOTH)
def test_state_round_trip(kind):
    net, other = (kind(3, [4, 9], width=8, depth=2, normalization="batch") for _ in range(2))
    net(inputs())
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(inputs()), other.eval()(inputs()))
