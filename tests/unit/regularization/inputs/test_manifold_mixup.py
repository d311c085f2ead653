"""Manifold mixup: the drawn layer is mixed, no other; one share and one partner for all tasks."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from polytask.aggregation import UPGrad
from polytask.backbones import MLP, Backbone, ResidualMLP, TabM
from polytask.balancing import EqualWeights
from polytask.data.batch import Batch
from polytask.data.batches import ResidentBatches
from polytask.errors import InvalidArgument
from polytask.gradients import MultiTaskBackward
from polytask.optim import OptimizerSpec
from polytask.regularization.inputs import InputRegularizer, ManifoldMixup, Mixing, hidden_mix
from polytask.sharing import MultiTaskModel
from polytask.tasks import Binary, Regression
from polytask.training import Defence
from polytask.training.step import Step

ROWS, SHARE = 6, 0.7
PARTNER = torch.tensor([2, 0, 1, 5, 3, 4])


def tasks():
    return [Regression("a").fit(np.arange(4.0)), Binary("c").fit(np.array([0, 1, 1, 1]))]


def table():
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS, 3, generator=draw, dtype=torch.float64)
    targets = {
        "a": torch.randn(ROWS, 1, generator=draw, dtype=torch.float64),
        "c": (torch.rand(ROWS, 1, generator=draw) < 0.5).double(),
    }
    masks = {"a": torch.ones(ROWS, 1) > 0, "c": torch.tensor([[1], [1], [0], [1], [1], [1]]) > 0}
    return Batch(x, targets, masks, None, torch.arange(ROWS))


def mixing(layer):
    return Mixing(PARTNER, torch.full((ROWS,), SHARE, dtype=torch.float64), layer)


def make(backbone):
    torch.manual_seed(0)
    if backbone is TabM:
        return TabM(3, width=8, depth=2, members=3, dropout=0.0).double()
    return backbone(3, width=8, depth=2, dropout=0.0, normalization="layer").double()


# ── the layer ───────────────────────────────────────────────────────────────────────────────────


def mixed(hidden):
    return SHARE * hidden + (1 - SHARE) * hidden[PARTNER]


def by_hand(net, x, layer):
    """The network written out, with the mixing at its place."""
    if isinstance(net, MLP):
        for number in (1, 2):
            start = 3 * (number - 1)
            x = net.layers[start + 2](net.layers[start + 1](net.layers[start](x)))
            x = mixed(x) if layer == number else x
        return x
    if isinstance(net, TabM):
        x = x.unsqueeze(1)
        for number in (1, 2):
            x = net.layers[2 * number - 1](net.layers[2 * number - 2](x))
            x = mixed(x) if layer == number else x
        return x
    h = net.stem(x)
    h = mixed(h) if layer == 1 else h
    for number, block in enumerate(net.blocks, 2):
        h = h + block(h)
        h = mixed(h) if layer == number else h
    return net.last(h)


NETWORKS = [(MLP, 2), (ResidualMLP, 3), (TabM, 2)]


def check_layers(backbone, number, mix_of):
    net = make(backbone)
    x = table().inputs
    assert net.mixable == number
    for layer in range(1, number + 1):
        found = net(x, mix_of(mixing(layer)))
        torch.testing.assert_close(found, by_hand(net, x, layer), rtol=1e-12, atol=1e-12)
        assert not torch.allclose(found, net(x))


@pytest.mark.parametrize(("backbone", "number"), NETWORKS)
def test_the_layer_is_mixed_and_no_other(backbone, number):
    check_layers(backbone, number, hidden_mix)


def every_layer(drawn):
    """Wrong: all layers are mixed."""
    return lambda _, hidden: hidden_mix(drawn)(drawn.layer, hidden)


def next_layer(drawn):
    """Wrong: counted from 0."""
    return lambda number, hidden: hidden_mix(drawn)(number - 1, hidden)


def swapped(drawn):
    """Wrong: the partner gets the row's share."""
    return hidden_mix(drawn._replace(share=1 - drawn.share))


def backwards(drawn):
    """Wrong: the partners of the inverse permutation."""
    return hidden_mix(drawn._replace(partner=drawn.partner.argsort()))


@pytest.mark.parametrize("wrong", [every_layer, next_layer, swapped, backwards])
@pytest.mark.parametrize(("backbone", "number"), NETWORKS)
def test_a_wrong_mix_is_found(backbone, number, wrong):
    with pytest.raises(AssertionError):
        check_layers(backbone, number, wrong)


def test_mixed_features_give_mixed_outputs_of_linear_heads():
    model = MultiTaskModel.hard(make(MLP), tasks()).double()
    x = table().inputs
    plain, found = model(x).outputs, model(x, mix=hidden_mix(mixing(2))).outputs
    for name, y in found.items():
        torch.testing.assert_close(y, mixed(plain[name]), rtol=1e-12, atol=1e-12)


def test_a_network_without_layers_of_its_own_has_none():
    assert MLP(3, width=8, skip=True).mixable == 0
    assert Backbone.mixable == 0
    assert hidden_mix(None) is None
    assert hidden_mix(mixing(0)) is None


# ── what is drawn ───────────────────────────────────────────────────────────────────────────────


def check_draws(technique):
    torch.manual_seed(0)
    batch, draws = table(), 6000
    layers, shares = np.zeros(3), []
    for _ in range(draws):
        changed, drawn = technique(batch)
        layers[drawn.layer] += 1
        share = drawn.share
        assert sorted(drawn.partner.tolist()) == list(range(ROWS))
        expected = batch.inputs
        if drawn.layer == 0:
            expected = share * expected + (1 - share) * expected[drawn.partner]
        torch.testing.assert_close(changed.inputs, expected, rtol=1e-6, atol=1e-6)
        shares.append(share)
    for share_of_layer in layers / draws:
        assert abs(share_of_layer - 1 / 3) < 5 * math.sqrt(2 / 9 / draws)
    # Beta(2, 2): mean 1/2, variance 1/20, fourth central moment 3/560.
    assert abs(np.mean(shares) - 0.5) < 5 * math.sqrt(0.05 / draws)
    spread = np.mean((np.array(shares) - 0.5) ** 2)
    assert abs(spread - 0.05) < 5 * math.sqrt((3 / 560 - 0.05**2) / draws)


class Other(InputRegularizer):
    """Draws something else than it should."""

    def __init__(self, alpha=2.0, only=None):
        self.inner, self.only = ManifoldMixup(alpha, layers=2), only

    def __call__(self, batch):
        while True:
            changed, drawn = self.inner(batch)
            if self.only is None or drawn.layer in self.only:
                return changed, drawn

    def describe(self):
        return ""


def test_layers_are_drawn_equally_often_with_shares_from_beta():
    check_draws(ManifoldMixup(layers=2))


@pytest.mark.parametrize("wrong", [Other(only=(1, 2)), Other(alpha=1.0), Other(alpha=3.0)])
def test_a_wrong_draw_is_found(wrong):
    """Without the inputs; another distribution of the share."""
    with pytest.raises(AssertionError):
        check_draws(wrong)


def test_a_single_row_is_left_alone():
    batch = table()
    one = batch._replace(inputs=batch.inputs[:1], rows=batch.rows[:1])
    assert ManifoldMixup(layers=2)(one) == (one, None)


def test_numbers_are_checked():
    with pytest.raises(InvalidArgument, match="alpha"):
        ManifoldMixup(0.001, layers=2)
    with pytest.raises(InvalidArgument, match="layers"):
        ManifoldMixup(layers=0)
    assert "Beta(2, 2)" in ManifoldMixup(layers=2).describe()


# ── the update ──────────────────────────────────────────────────────────────────────────────────


class Fixed(InputRegularizer):
    """Always the same mixing."""

    mixes = True
    layers = 2

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, batch):
        return batch, mixing(self.layer)

    def describe(self):
        return "fixed"


def mixed_losses(model, batch, layer, share=SHARE):
    """l L(ỹ, y_i) + (1 − l) L(ỹ, y_j) over rows with both labels, one mean per task."""
    net = model.backbone
    z = by_hand(net, batch.inputs, layer)
    heads = [nn.functional.linear(z, s.weight[0], s.bias[0])[:, 0] for s in model.heads.stacks]
    y = batch.targets["a"][:, 0]
    own = (heads[0] - y) ** 2
    partner = (heads[0] - y[PARTNER]) ** 2
    first = (share * own + (1 - share) * partner).mean()
    both = (batch.masks["c"] & batch.masks["c"][PARTNER])[:, 0]
    label = share * batch.targets["c"][:, 0] + (1 - share) * batch.targets["c"][PARTNER, 0]
    chance = heads[1].sigmoid()  # cross entropy is linear in the label
    second = -(label * chance.log() + (1 - label) * (1 - chance).log())[both].mean()
    return first, second


def check_update(share):
    batch = table()
    for layer in (1, 2):
        model = MultiTaskModel.hard(make(MLP), tasks()).double()
        start = {name: value.detach().clone() for name, value in model.named_parameters()}
        objective = sum(mixed_losses(model, batch, layer, share)) / 2
        slopes = torch.autograd.grad(objective, list(model.parameters()))
        spec = OptimizerSpec("sgd", learning_rate=1.0, weight_decay=0.0, momentum=0.0)
        step = Step(model, model.groups, EqualWeights(2), spec.build(model.roles()), 0.0,
                    Defence(inputs=(Fixed(layer),)))  # fmt: skip
        windows = ResidentBatches(batch, batch_size=ROWS, shuffle=False).windows(1)
        assert step.update(next(iter(windows)))
        for (name, value), slope in zip(model.named_parameters(), slopes, strict=True):
            moved = start[name] - value.detach()
            torch.testing.assert_close(moved, slope, rtol=1e-6, atol=1e-8)


def test_one_update_is_that_of_the_formula():
    check_update(SHARE)
    with pytest.raises(AssertionError):
        check_update(1 - SHARE)


def test_task_gradients_of_a_mixed_trunk():
    """Few rows and wide layers: the engine compares gradients of linear layers unformed."""
    torch.manual_seed(0)
    net = MLP(32, width=32, depth=2, dropout=0.0).double()
    heads = [nn.Linear(32, 1).double() for _ in range(3)]
    x = torch.randn(ROWS, 32, dtype=torch.float64)

    def losses():
        features = net(x, hidden_mix(mixing(1)))
        return [head(features).square().mean() for head in heads]

    report = MultiTaskBackward(UPGrad())(losses())
    parts = [torch.autograd.grad(loss, list(net.parameters())) for loss in losses_of(losses)]
    jacobian = torch.stack([torch.cat([g.flatten() for g in part]) for part in parts])
    torch.testing.assert_close(report.gramian, jacobian @ jacobian.T, rtol=1e-10, atol=1e-14)


def losses_of(losses):
    """A graph of its own for every task."""
    return [losses()[task] for task in range(3)]
