"""TabM: the package's model at its recommended settings, and the formula written out."""

import json

import pytest
import torch
from torch import nn

from polytask.backbones import Dropout, EnsembleLinear, TableInput, TabM, piecewise_bins
from polytask.errors import InvalidArgument, UnknownName
from polytask.optim import Kind, OptimizerSpec, ParameterInfo, Role, parameter_kinds


def disturbed(net, seed=0):
    """Weights unlike those of the start: there most scales are one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return net


def numbers(rows=50):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 3, generator=generator)


def linears(net):
    return [layer for layer in net.modules() if isinstance(layer, EnsembleLinear)]


def test_it_is_the_model_that_the_package_recommends():
    """Same start values from the same seed, same output."""
    tabm = pytest.importorskip("tabm")
    x = numbers()
    torch.manual_seed(0)
    ours = TabM(3).eval()
    torch.manual_seed(0)
    theirs = tabm.TabM.make(n_num_features=3, d_out=None).eval()
    assert ours(x).shape == (50, 32, 512)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    assert count(ours) == count(theirs)


def test_with_embeddings_it_is_too():
    tabm = pytest.importorskip("tabm")
    rtdl = pytest.importorskip("rtdl_num_embeddings")
    x = numbers(200)
    bins = piecewise_bins(x, 10)
    torch.manual_seed(0)
    ours = TabM(3, bins=bins, width=64).eval()
    torch.manual_seed(0)
    embeddings = rtdl.PiecewiseLinearEmbeddings(
        rtdl.compute_bins(x, 10), 16, activation=False, version="B"
    )
    theirs = tabm.TabM.make(
        n_num_features=3, d_out=None, num_embeddings=embeddings, d_block=64
    ).eval()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    start = linears(ours)[0].input_scale
    assert torch.equal(start, theirs.backbone.blocks[0][0].r)
    pieces = start.view(32, 3, 16)
    assert torch.equal(pieces, pieces[:, :, :1].expand_as(pieces))
    assert len(start.unique()) == 32 * 3


def test_members_are_perceptrons_with_rank_one_scaled_weights():
    torch.manual_seed(0)
    net = disturbed(TabM(3, width=8, depth=2, members=4, dropout=0.0)).double()
    x = numbers().double()
    for member in range(4):
        hidden = forgetful = x
        for layer in linears(net):
            scales = torch.outer(layer.output_scale[member], layer.input_scale[member])
            bias = layer.bias[member]
            hidden = torch.relu(hidden @ (layer.weight * scales).T + bias)
            only_out = layer.weight * layer.output_scale[member][:, None]
            forgetful = torch.relu(forgetful @ only_out.T + bias)
        torch.testing.assert_close(net(x)[:, member], hidden, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(net(x)[:, member], forgetful, atol=1e-3)


def test_members_differ_from_the_start_and_only_by_the_first_scales():
    torch.manual_seed(0)
    net = TabM(3, width=8, depth=2, members=4).eval()
    features = net(numbers())
    assert all(not torch.allclose(features[:, 0], features[:, m], atol=0.1) for m in range(1, 4))
    first, second = linears(net)
    assert set(first.input_scale.detach().flatten().tolist()) == {-1.0, 1.0}
    for scale in (first.output_scale, second.input_scale, second.output_scale):
        assert torch.equal(scale, torch.ones_like(scale))
    with torch.no_grad():
        first.input_scale.fill_(1.0)
    features = net(numbers())
    torch.testing.assert_close(features, features[:, :1].expand_as(features))


def test_decay_acts_on_scales_and_not_on_biases():
    net = TabM(3, [5], width=8, depth=1, members=4, bins=[[0.0, 1.0, 2.0], None, None])
    kinds = parameter_kinds(net)
    assert kinds == {
        "input.slope": Kind.NORM,
        "input.offset": Kind.BIAS,
        "input.curves": Kind.EMBEDDING,
        "input.table.missing": Kind.MISSING,
        "input.table.weight": Kind.EMBEDDING,
        "layers.0.weight": Kind.WEIGHT,
        "layers.0.input_scale": Kind.EMBEDDING,
        "layers.0.output_scale": Kind.EMBEDDING,
        "layers.0.bias": Kind.BIAS,
    }
    infos = [
        ParameterInfo(name, net.get_parameter(name), Role.BACKBONE, kind, frozenset({"y"}))
        for name, kind in kinds.items()
    ]
    groups = OptimizerSpec(weight_decay=0.1).build(infos).param_groups
    decayed = {n for g in groups if g["weight_decay"] for n in g["param_names"]}
    assert decayed == {
        "input.curves",
        "input.table.weight",
        "layers.0.weight",
        "layers.0.input_scale",
        "layers.0.output_scale",
    }


def test_every_layer_ends_in_activation_and_dropout():
    net = TabM(3, width=16, depth=2, members=3, dropout=0.2, activation="silu")
    kinds = [type(layer) for layer in net.layers]
    assert kinds == [EnsembleLinear, nn.SiLU, Dropout] * 2
    assert (TabM(3, width=8, depth=1, members=2, dropout=0.0)(numbers()) >= 0).all()


def test_categories_and_default_depth():
    codes = torch.randint(0, 5, (6, 2))
    inputs = {"numeric": torch.randn(6, 3), "categories": codes}
    bins = [[0.0, 1.0, 2.0], None, [0.0, 1.0, 3.0, 9.0]]
    plain = TabM(3, [5, 9], width=8, members=3)
    embedded = TabM(3, [5, 9], width=8, members=3, bins=bins, embedding=4)
    assert len(linears(plain)) == plain.architecture["depth"] == 3
    assert len(linears(embedded)) == embedded.architecture["depth"] == 2
    assert isinstance(plain.input, TableInput)
    assert plain.input.width == 3 + 14
    assert embedded.input.width == 1 + 14 + 8
    for net in (plain, embedded):
        output = net(inputs)
        assert output.shape == (6, 3, 8)
        output.sum().backward()
        assert all(p.grad is not None for p in net.parameters())
        assert net(no_rows()).shape == (0, 3, 8)


def no_rows():
    return {"numeric": torch.zeros(0, 3), "categories": torch.zeros(0, 2, dtype=torch.int64)}


def test_bins_without_any_edges_are_no_bins():
    net = TabM(2, width=8, members=2, bins=[None, None])
    assert net.architecture["bins"] is None
    assert net.architecture["depth"] == 3


def test_the_architecture_passes_through_json():
    x = numbers(100)
    net = disturbed(
        TabM(3, width=8, members=3, bins=piecewise_bins(x, 7), activation="gelu")
    ).eval()
    arguments = json.loads(json.dumps(net.architecture))
    assert arguments.pop("backbone") == "tabm"
    other = TabM(**arguments).eval()
    assert not torch.equal(other(x), net(x))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ({"width": 0}, InvalidArgument, "width"),
        ({"depth": 0}, InvalidArgument, "depth"),
        ({"dropout": 1.0}, InvalidArgument, "dropout"),
        ({"members": 1}, InvalidArgument, "members"),
        ({"embedding": 0}, InvalidArgument, "embedding"),
        ({"bins": [[0.0, 1.0, 2.0]]}, InvalidArgument, "bins"),
        ({"activation": "rellu"}, UnknownName, "Did you mean 'relu'"),
    ],
)
def test_bad_options_are_refused(arguments, error, word):
    with pytest.raises(error, match=word):
        TabM(3, **{"width": 8, "depth": 1, "members": 2, **arguments})


def test_half_precision_runs():
    net = TabM(3, width=8, members=3, bins=[[0.0, 1.0, 2.0]] * 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(numbers()).sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
