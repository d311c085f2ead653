"""OptimizerSpec: groups, decay, rates, fused implementation."""

import pytest
import torch
from torch import nn

from polytask.errors import InvalidArgument, UnknownName
from polytask.optim import (
    Kind,
    OptimizerSpec,
    ParameterInfo,
    Role,
    apply_rate,
    describe_groups,
    parameter_kinds,
    undecayed,
)


def info(name, role, kind, tasks, shape=(2, 2), dtype=torch.float32):
    parameter = nn.Parameter(torch.ones(shape, dtype=dtype))
    return ParameterInfo(name, parameter, role, kind, frozenset(tasks))


def model_infos():
    return [
        info("w", Role.BACKBONE, Kind.WEIGHT, "ab"),
        info("b", Role.BACKBONE, Kind.BIAS, "ab"),
        info("n", Role.BACKBONE, Kind.NORM, "ab"),
        info("e", Role.BACKBONE, Kind.EMBEDDING, "ab"),
        info("m", Role.BACKBONE, Kind.MISSING, "ab"),
        info("g", Role.GATE, Kind.WEIGHT, "ab"),
        info("s", Role.BALANCE, Kind.SCALAR, "ab", shape=()),
        info("l", Role.BALANCE, Kind.WEIGHT, "ab"),
        info("ha", Role.HEAD, Kind.WEIGHT, "a"),
        info("hb", Role.HEAD, Kind.WEIGHT, "b"),
    ]


def rates_of(optimizer):
    return {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_only_weights_and_embeddings_decay(name):
    """A step with zero gradients moves exactly what decay acts on."""
    infos = model_infos()
    optimizer = OptimizerSpec(name, learning_rate=0.1, weight_decay=0.5).build(infos)
    for row in infos:
        row.parameter.grad = torch.zeros_like(row.parameter)
    optimizer.step()
    moved = {
        row.name for row in infos if not torch.equal(row.parameter, torch.ones_like(row.parameter))
    }
    assert moved == {"w", "e", "ha", "hb"}
    assert set(undecayed(optimizer, infos)) == {"b", "n", "m", "g", "s", "l"}


def test_decaying_everything_would_be_seen():
    """The mutation: torch's own grouping decays the bias too."""
    infos = model_infos()
    optimizer = torch.optim.AdamW([row.parameter for row in infos], lr=0.1, weight_decay=0.5)
    for row in infos:
        row.parameter.grad = torch.zeros_like(row.parameter)
    optimizer.step()
    assert all((row.parameter != 1).all() for row in infos)


def test_sgd_decay_is_ridge_and_adamw_decay_is_not():
    """SGD's fixed point solves (XᵀX/n + λI) w = Xᵀy/n; AdamW's does not."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    decay = 0.3
    ridge = torch.linalg.solve(x.T @ x / 40 + decay * torch.eye(3), x.T @ y / 40)
    solutions = {}
    for name, rate, steps in (("sgd", 0.02, 1500), ("adamw", 0.02, 1500)):
        row = info("w", Role.HEAD, Kind.WEIGHT, "a", (3,), torch.float64)
        spec = OptimizerSpec(name, learning_rate=rate, weight_decay=decay)
        optimizer = spec.build([row])
        for _ in range(steps):
            optimizer.zero_grad()
            (0.5 * ((x @ row.parameter - y) ** 2).mean()).backward()
            optimizer.step()
        solutions[name] = row.parameter.detach()
    assert torch.allclose(solutions["sgd"], ridge, atol=1e-9)
    assert (solutions["adamw"] - ridge).abs().max() > 0.05


def test_rates_multiply_and_keep_their_ratio_under_a_schedule():
    infos = model_infos()
    spec = OptimizerSpec(learning_rate=0.1, rates={"role:head": 2.0, "task:a": 0.25})
    optimizer = spec.build(infos)
    rates = rates_of(optimizer)
    assert rates["w"] == pytest.approx(0.1)
    assert rates["hb"] == pytest.approx(0.2)
    assert rates["ha"] == pytest.approx(0.05)
    assert spec.separate_tasks == ("a",)
    apply_rate(optimizer, 0.5)
    apply_rate(optimizer, 0.1)
    rates = rates_of(optimizer)
    assert (rates["w"], rates["hb"], rates["ha"]) == pytest.approx((0.01, 0.02, 0.005))


def test_a_rate_of_zero_freezes():
    infos = model_infos()
    optimizer = OptimizerSpec(rates={"role:backbone": 0}).build(infos)
    for row in infos:
        row.parameter.grad = torch.ones_like(row.parameter)
    optimizer.step()
    frozen = {row.name for row in infos if (row.parameter == 1).all()}
    assert frozen == {row.name for row in infos if row.role is Role.BACKBONE}


def test_task_names_may_hold_colons():
    infos = [
        info("h", Role.HEAD, Kind.WEIGHT, ["x:y"]),
        info("w", Role.BACKBONE, Kind.WEIGHT, ["x:y", "z"]),
    ]
    spec = OptimizerSpec(learning_rate=1.0, rates={"task:x:y": 0.5})
    assert rates_of(spec.build(infos)) == {"h": 0.5, "w": 1.0}
    assert spec.separate_tasks == ("x:y",)


@pytest.mark.parametrize(
    ("key", "guess"),
    [
        ("role:haed", "role:head"),
        ("task:aa", "task:a"),
        ("head", "role:head"),
        ("role:expert", None),
    ],
)
def test_unknown_rates_name_the_nearest(key, guess):
    with pytest.raises(UnknownName, match=r"optimizer\.rates") as caught:
        OptimizerSpec(rates={key: 2.0}).build(model_infos())
    assert guess is None or f"Did you mean '{guess}'" in str(caught.value)


def test_a_rate_for_a_fused_task_says_how_to_separate_it():
    infos = [
        info("h", Role.HEAD, Kind.WEIGHT, "abc"),
        info("w", Role.BACKBONE, Kind.WEIGHT, "abcd"),
    ]
    with pytest.raises(InvalidArgument, match=r"shares .*'b', 'c'.*separate=\['a'\]"):
        OptimizerSpec(rates={"task:a": 2.0}).build(infos)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "adamax"},
        {"learning_rate": 0},
        {"learning_rate": float("inf")},
        {"weight_decay": -1},
        {"momentum": 1.0},
        {"betas": (0.9, 1.0)},
        {"betas": (0.9,)},
        {"nesterov": True},
        {"name": "sgd", "nesterov": True, "momentum": 0.0},
        {"rates": {"role:head": -1}},
        {"rates": {"role:head": float("nan")}},
    ],
)
def test_bad_values_are_refused(arguments):
    with pytest.raises((InvalidArgument, UnknownName), match="optimizer"):
        OptimizerSpec(**arguments)


def test_frozen_parameters_stay_out_and_nothing_trainable_is_an_error():
    infos = model_infos()
    infos[0].parameter.requires_grad_(False)
    assert "w" not in rates_of(OptimizerSpec().build(infos))
    for row in infos:
        row.parameter.requires_grad_(False)
    with pytest.raises(InvalidArgument, match="trainable"):
        OptimizerSpec().build(infos)


def test_a_parameter_twice_is_an_error():
    row = model_infos()[0]
    with pytest.raises(InvalidArgument, match="once"):
        OptimizerSpec().build([row, row])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_only_where_every_parameter_allows_it(name):
    optimizer = OptimizerSpec(name).build(model_infos())
    assert all(group["fused"] is True for group in optimizer.param_groups)
    mixed = [*model_infos(), info("c", Role.HEAD, Kind.WEIGHT, "a", dtype=torch.bfloat16)]
    optimizer = OptimizerSpec(name).build(mixed)
    assert not any(group["fused"] for group in optimizer.param_groups)


def test_arguments_reach_torch():
    sgd = OptimizerSpec("sgd", momentum=0.7, nesterov=True).build(model_infos())
    assert isinstance(sgd, torch.optim.SGD)
    assert all(group["momentum"] == 0.7 and group["nesterov"] for group in sgd.param_groups)
    adam = OptimizerSpec("adam", betas=(0.8, 0.95)).build(model_infos())
    assert type(adam) is torch.optim.Adam
    assert all(group["betas"] == (0.8, 0.95) for group in adam.param_groups)
    assert type(OptimizerSpec("adamw").build(model_infos())) is torch.optim.AdamW


def test_half_life_is_the_number_of_updates_that_halve_a_weight():
    row = info("w", Role.HEAD, Kind.WEIGHT, "a", (1,), torch.float64)
    optimizer = OptimizerSpec("adamw", learning_rate=0.1, weight_decay=0.1).build([row])
    (summary,) = describe_groups(optimizer, [row])
    row.parameter.grad = torch.zeros_like(row.parameter)
    for _ in range(round(summary.half_life)):
        optimizer.step()
    assert row.parameter.item() == pytest.approx(0.5, rel=0.01)
    coupled = OptimizerSpec("sgd", weight_decay=0.1).build([row])
    assert describe_groups(coupled, [row])[0].half_life is None


def test_a_tensor_rate_stays_the_same_object():
    rate = torch.tensor(0.5)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(1))], lr=rate, foreach=False)
    apply_rate(optimizer, 0.5)
    apply_rate(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.25


def test_kinds_come_from_layer_types_not_from_names():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.ones(2, 2))
            self.weight = nn.Parameter(torch.ones(2))
            self.norm = nn.Parameter(torch.tensor(1.0))

    net = nn.ModuleDict(
        {
            "odd": Odd(),
            "batch": nn.BatchNorm1d(2),
            "group": nn.GroupNorm(1, 2),
            "embed": nn.Embedding(3, 2),
            "conv": nn.Conv2d(1, 2, 3),
        }
    )
    assert {name: str(kind) for name, kind in parameter_kinds(net).items()} == {
        "odd.bias": "weight",
        "odd.weight": "bias",
        "odd.norm": "scalar",
        "batch.weight": "norm",
        "batch.bias": "norm",
        "group.weight": "norm",
        "group.bias": "norm",
        "embed.weight": "embedding",
        "conv.weight": "weight",
        "conv.bias": "bias",
    }


def test_tied_parameters_have_one_kind():
    net = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    net[1].weight = net[0].weight
    assert list(parameter_kinds(net)) == [name for name, _ in net.named_parameters()]
