"""Concrete dropout: masks, the term, what it is read by, and the probability that comes out."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import bernoulli
from torch import nn

from polytask.backbones import MLP, Backbone, ResidualMLP
from polytask.backbones.concrete_dropout import ConcreteDropout, learned_dropout
from polytask.backbones.layers import check_learned
from polytask.data.batch import Batch
from polytask.errors import InvalidArgument, Unsupported
from polytask.export.architecture import build_model, describe_architecture
from polytask.optim import Kind, OptimizerSpec, Role
from polytask.regularization.features import DropoutSchedule, mc_dropout, sample_outputs
from polytask.sharing import HardSharing, MultiTaskModel, SharingArchitecture, adapt
from polytask.tasks import Regression, group_tasks

P, ROWS, SCALE = 0.2, 50, 0.7


def tasks():
    return [Regression(name).fit(np.arange(4.0)) for name in ("a", "b")]


def network(backbone=MLP, dropout=P, **options):
    torch.manual_seed(0)
    made = backbone(3, width=16, depth=2, dropout=dropout, concrete_rows=ROWS,
                    length_scale=SCALE, **options)  # fmt: skip
    return MultiTaskModel.hard(made, tasks())


def dropouts(model):
    return [layer for layer in model.modules() if isinstance(layer, ConcreteDropout)]


# ── masks ───────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def check_masks(make, temperature=0.1):
    """A unit counts as kept where its factor is above one half: with probability 1 − p, any t."""
    torch.manual_seed(0)
    draws = 200_000
    factors = make(temperature)(torch.ones(draws)) * (1 - P)
    assert float(factors.min()) >= 0
    assert float(factors.max()) <= 1 + 1e-6
    share = float((factors > 0.5).float().mean())
    assert abs(share - (1 - P)) < 5 * math.sqrt(P * (1 - P) / draws)


class DroppedTwice(nn.Module):
    """Wrong: kept with p."""

    def forward(self, features):
        return ConcreteDropout(1 - P)(features) * P / (1 - P)


class Unscaled(nn.Module):
    """Wrong: the mean of the features shrinks."""

    def forward(self, features):
        return ConcreteDropout(P)(features) * (1 - P) * (1 - P)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 0.5])
def test_units_are_kept_with_their_probability(temperature):
    check_masks(lambda t: ConcreteDropout(P, temperature=t), temperature)


def test_a_wrong_mask_is_found():
    with pytest.raises(AssertionError):
        check_masks(lambda _: DroppedTwice())


@torch.no_grad()
def check_mean(layer):
    """Cold masks are Bernoulli's, and the mean of the features stays."""
    torch.manual_seed(1)
    draws = 100_000
    kept = layer(torch.ones(draws))
    assert abs(float(kept.mean()) - 1) < 5 * math.sqrt(P / (1 - P) / draws) + 1e-3


def test_the_mean_stays():
    check_mean(ConcreteDropout(P, temperature=1e-3))
    with pytest.raises(AssertionError):
        check_mean(Unscaled())


def test_the_gradient_of_the_mask_is_that_of_the_formula():
    layer = ConcreteDropout(P).double()
    x = torch.rand(5, 4, dtype=torch.float64) + 0.5

    def forward(logit):
        torch.manual_seed(3)
        layer.logit.data.copy_(logit)
        return torch.func.functional_call(layer, {"logit": logit}, (x,))

    start = layer.logit.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(forward, (start,))
    torch.manual_seed(3)
    u = torch.rand_like(x)
    p = torch.tensor(P, dtype=torch.float64)
    inner = (p.log() - (1 - p).log() + u.log() - (1 - u).log()) / 0.1
    expected = x * (1 - torch.sigmoid(inner)) / (1 - p)  # as in the paper
    layer.logit.data.copy_(torch.logit(p))
    torch.manual_seed(3)
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-12)


def test_a_draw_of_zero_keeps_the_gradient_finite(monkeypatch):
    layer = ConcreteDropout(P)
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)
    y = layer(torch.ones(3))
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(layer.logit.grad)


# ── the term ────────────────────────────────────────────────────────────────────────────────────


def paper(p, squares, units):
    """(1/N) (l²/2 ‖W‖²/(1 − p) − K H(p)), with the entropy of scipy."""
    return (SCALE**2 / 2 * squares / (1 - p) - units * bernoulli.entropy(p)) / ROWS


def without_scale(layer, weights):
    """Wrong: ‖W‖² without 1/(1 − p)."""
    squares = sum(weight.square().sum() for weight in weights)
    return layer.term(weights, ROWS, SCALE) - SCALE**2 / 2 * squares * layer.logit.exp() / ROWS


def entropy_of_one_unit(layer, weights):
    """Wrong: H(p) once instead of once per unit."""
    p = layer.logit.sigmoid()
    entropy = -p * p.log() - (1 - p) * (1 - p).log()
    return layer.term(weights, ROWS, SCALE) + (weights[0].shape[-1] - 1) * entropy / ROWS


def per_batch(layer, weights):
    """Wrong: not divided by the rows of the table."""
    return layer.term(weights, 1, SCALE)


def check_term(term):
    draw = torch.Generator().manual_seed(0)
    weights = [torch.randn(2, 1, 6, generator=draw, dtype=torch.float64) for _ in range(2)]
    squares = float(sum(weight.square().sum() for weight in weights))
    for p in (0.02, 0.3, 0.9):
        layer = ConcreteDropout(p).double()
        layer.logit.data.fill_(math.log(p / (1 - p)))
        found = term(layer, weights)
        assert float(found.detach()) == pytest.approx(paper(p, squares, 6), rel=1e-12)
        (gradient,) = torch.autograd.grad(found, layer.logit)
        step = 1e-6
        slope = (paper(p + step, squares, 6) - paper(p - step, squares, 6)) / (2 * step)
        assert float(gradient) == pytest.approx(slope * p * (1 - p), rel=1e-6, abs=1e-10)


def test_the_term_is_that_of_the_paper():
    check_term(lambda layer, weights: layer.term(weights, ROWS, SCALE))


@pytest.mark.parametrize("wrong", [without_scale, entropy_of_one_unit, per_batch])
def test_a_wrong_term_is_found(wrong):
    with pytest.raises(AssertionError):
        check_term(wrong)


def test_descent_on_the_term_finds_the_optimum_of_scipy():
    weight = torch.full((3, 6), 0.8, dtype=torch.float64)
    layer = ConcreteDropout(P).double()
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, tolerance_grad=1e-14,
                                  tolerance_change=0, line_search_fn="strong_wolfe")  # fmt: skip

    def closure():
        optimizer.zero_grad()
        loss = layer.term([weight], ROWS, SCALE)
        loss.backward()
        return loss

    optimizer.step(closure)
    squares = float(weight.square().sum())
    best = minimize_scalar(lambda p: paper(p, squares, 6), bounds=(1e-6, 1 - 1e-6),
                           method="bounded", options={"xatol": 1e-12})  # fmt: skip
    assert float(layer.p) == pytest.approx(best.x, abs=1e-6)
    assert 0.05 < best.x < 0.45  # neither end: the two parts hold each other


def test_extreme_probabilities_have_finite_terms():
    for logit in (-40.0, 40.0):
        layer = ConcreteDropout(P)
        layer.logit.data.fill_(logit)
        term = layer.term([torch.zeros(1, 2)], 1, 1.0)
        term.backward()
        assert torch.isfinite(term)
        assert torch.isfinite(layer.logit.grad)


# ── networks ────────────────────────────────────────────────────────────────────────────────────


def readers(model):
    """By name, what reads each dropout."""
    weights = dict(model.named_parameters())
    heads = [weights["heads.stacks.0.weight"][..., :16]]
    if isinstance(model.backbone, MLP):
        return [[weights["backbone.layers.3.weight"]], heads]
    return [*([weights[f"backbone.blocks.{i}.3.weight"]] for i in range(2)), heads]


@pytest.mark.parametrize(
    ("backbone", "options"), [(MLP, {}), (MLP, {"skip": True}), (ResidualMLP, {})]
)
def test_every_dropout_is_read_by_the_next_weights(backbone, options):
    model = network(backbone, **options)
    output = model.train()(torch.randn(4, 3))
    expected = 0.0
    for layer, weights in zip(dropouts(model), readers(model), strict=True):
        squares = float(sum(weight.detach().square().sum() for weight in weights))
        expected += paper(float(layer.p), squares, 16)
    found = output.shared.penalties["concrete dropout"]
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    first = torch.autograd.grad(found, [*model.parameters()], allow_unused=True)
    reached = {
        n for (n, _), g in zip(model.named_parameters(), first, strict=True) if g is not None
    }
    assert {n for n in reached if n.endswith("logit")} == {
        n for n, _ in model.named_parameters() if n.endswith("logit")
    }
    assert not model.eval()(torch.randn(4, 3)).shared.penalties


@pytest.mark.parametrize("backbone", [MLP, ResidualMLP])
def test_weights_keep_their_names_and_start_values(backbone):
    torch.manual_seed(0)
    plain = MultiTaskModel.hard(backbone(3, width=16, depth=2, dropout=P), tasks())
    model = network(backbone)
    state = model.state_dict()
    assert set(plain.state_dict()) == {name for name in state if not name.endswith("logit")}
    for name, value in plain.state_dict().items():
        assert torch.equal(state[name], value)
    x = torch.randn(4, 3)
    assert torch.equal(plain.eval()(x).outputs["a"], model.eval()(x).outputs["a"])
    assert learned_dropout(model) == pytest.approx([P] * len(dropouts(model)))
    assert "concrete_rows" not in plain.backbone.architecture


def test_the_optimizer_holds_every_probability_once_and_does_not_decay_it():
    model = network()
    infos = {info.name: info for info in model.roles()}
    logits = [info for name, info in infos.items() if name.endswith("logit")]
    assert len(logits) == 2
    assert {(info.role, info.kind) for info in logits} == {(Role.BACKBONE, Kind.SCALAR)}
    optimizer = OptimizerSpec(weight_decay=0.1).build(model.roles())
    for info in logits:
        groups = [
            g for g in optimizer.param_groups if any(p is info.parameter for p in g["params"])
        ]
        assert [group["weight_decay"] for group in groups] == [0.0]
        assert sum(p is info.parameter for p in groups[0]["params"]) == 1


def test_bundles_know_it_and_masks_in_predictions_use_it():
    model = network()
    with torch.no_grad():
        for layer in dropouts(model):
            layer.logit.add_(1.0)
    again = build_model(describe_architecture(model), group_tasks(tasks()))
    again.load_state_dict(model.state_dict())
    assert learned_dropout(again) == learned_dropout(model)
    x = torch.randn(4, 3)
    assert torch.equal(again.eval()(x).outputs["a"], model.eval()(x).outputs["a"])
    drawn = sample_outputs(again, x, 3)["a"]
    assert not torch.equal(drawn[0], drawn[1])
    with mc_dropout(again):
        assert [layer.training for layer in dropouts(again)] == [True, True]
        assert not again(x).shared.penalties


def test_a_schedule_leaves_it_alone():
    model = network()
    DropoutSchedule(model, lambda _: 0.0).apply(1.0)
    assert learned_dropout(model) == pytest.approx([P, P])


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


def test_networks_that_would_leave_the_term_out_are_refused():
    own = nn.Sequential(nn.Linear(3, 4), ConcreteDropout())
    table = Batch(torch.zeros(4, 3), {}, {}, None, torch.arange(4))
    with pytest.raises(Unsupported, match="without its term"):
        adapt(own, group_tasks(tasks()), table)

    class Silent(Backbone):
        width = 4

        def __init__(self):
            super().__init__()
            self.layers = own

        def forward(self, inputs):
            return self.layers(inputs)

    with pytest.raises(Unsupported, match="without its term"):
        MultiTaskModel.hard(Silent(), tasks())


def test_the_term_needs_the_heads_that_read_the_features():
    for backbone in (MLP, ResidualMLP):
        with pytest.raises(InvalidArgument, match="`heads` must hold the weights that read"):
            network(backbone).backbone.penalties()
    with pytest.raises(InvalidArgument, match="`readers` must hold the weights"):
        ConcreteDropout(0.1).term([], rows=1, length_scale=1.0)


def test_sharing_that_stands_between_features_and_heads_is_refused():
    class Other(SharingArchitecture):
        def __init__(self):
            super().__init__()
            self.inner = HardSharing(["a", "b"], 16)

        def forward(self, features, tasks=None):
            return self.inner(features, tasks)

        def width(self, task):
            return 16

        def roles(self):
            return ()

    backbone = MLP(3, width=16, depth=1, concrete_rows=9)
    with pytest.raises(Unsupported, match="hard sharing"):
        MultiTaskModel(backbone, Other(), group_tasks(tasks()))
    plain = MLP(3, width=16, depth=1)
    MultiTaskModel(plain, Other(), group_tasks(tasks()))


def test_numbers_are_checked():
    for wrong in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(InvalidArgument, match="`p`"):
            ConcreteDropout(wrong)
    with pytest.raises(InvalidArgument, match="temperature"):
        ConcreteDropout(0.1, temperature=0.0)
    with pytest.raises(InvalidArgument, match="dropout"):
        MLP(3, width=16, dropout=0.0, concrete_rows=9)
    with pytest.raises(InvalidArgument, match="concrete_rows"):
        check_learned(0.1, -1, 1.0)
    with pytest.raises(InvalidArgument, match="length_scale"):
        check_learned(0.1, 1, 0.0)
