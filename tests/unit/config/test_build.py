"""Objects from a run: the right class, with every option passed on."""

import pytest
import torch

from polytask.backbones import MLP, ResidualMLP
from polytask.balancing import EqualWeights, FixedWeights, PooledLoss, ScheduledWeights
from polytask.config import (
    TargetConfig,
    build_backbone,
    build_balance,
    build_optimizer_spec,
    build_plateau,
    build_schedule,
    build_stopping,
    target_spec,
)
from polytask.config.build import build_penalties
from polytask.config.run import (
    BalanceConfig,
    ModelConfig,
    OptimizerConfig,
    PenaltyConfig,
    ScheduleConfig,
    TrainingConfig,
)
from polytask.errors import InvalidArgument, UnknownName
from polytask.training.stopping import Mean, NoStopping, Regret

TASKS = ["age", "sex"]
LOSSES = torch.tensor([1.0, 3.0])


def test_backbones_take_every_option():
    config = ModelConfig(width=8, depth=2, dropout=0.25, activation="tanh", normalization="layer")
    backbone = build_backbone(config, 3, [4])
    assert isinstance(backbone, MLP)
    assert backbone.width == 8
    kinds = [type(module).__name__ for module in backbone.modules()]
    assert kinds.count("Tanh") == 2
    assert kinds.count("LayerNorm") == 2
    assert [m.p for m in backbone.modules() if isinstance(m, torch.nn.Dropout)] == [0.25] * 2
    assert build_backbone(ModelConfig(width=8, skip=True), 3, []).width == 8 + 3
    residual = ModelConfig(backbone="residual-mlp", width=8)
    assert isinstance(build_backbone(residual, 3, []), ResidualMLP)


def test_balancers():
    assert isinstance(build_balance(BalanceConfig(name="equal"), TASKS), EqualWeights)
    assert isinstance(build_balance(BalanceConfig(name="pooled"), TASKS), PooledLoss)
    fixed = build_balance(BalanceConfig(name="fixed", weights={"sex": 3.0}), TASKS)
    assert isinstance(fixed, FixedWeights)
    assert fixed(LOSSES).item() == pytest.approx((1 + 9) / 4)


def test_weights_of_targets_are_the_default_of_fixed_weights():
    config = BalanceConfig(name="fixed", weights={"sex": 3.0})
    assert build_balance(config, TASKS, [2.0, 7.0]).values.tolist() == [2.0, 3.0]


@pytest.mark.parametrize(("interpolation", "middle"), [("step", 1.0), ("linear", 0.5)])
def test_scheduled_weights(interpolation, middle):
    config = BalanceConfig(
        name="scheduled", schedule={"sex": [(0, 1.0), (10, 0.0)]}, interpolation=interpolation
    )
    balance = build_balance(config, TASKS, [2.0, 1.0])
    assert isinstance(balance, ScheduledWeights)
    balance.progress(0.5, 5.0)
    assert balance.values.tolist() == [2.0, middle]
    balance.progress(1.0, 20.0)
    assert balance.values.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("option", ["weights", "schedule"])
def test_unknown_tasks_get_the_nearest_name(option):
    value = {"sxe": 1.0} if option == "weights" else {"sxe": [(0.0, 1.0)]}
    name = "fixed" if option == "weights" else "scheduled"
    config = BalanceConfig.model_validate({"name": name, option: value})
    with pytest.raises(UnknownName, match=f"`balance.{option}` 'sxe' .* Did you mean 'sex'"):
        build_balance(config, TASKS)


def test_a_broken_schedule_names_its_task():
    config = BalanceConfig(name="scheduled", schedule={"sex": [(5, 1.0), (0, 1.0)]})
    with pytest.raises(InvalidArgument, match=r"`balance\.schedule` of task 'sex'.*increasing"):
        build_balance(config, TASKS)


def test_options_that_a_method_lacks():
    config = BalanceConfig(name="equal", options={"temperature": 2})
    with pytest.raises(InvalidArgument, match=r"balance\.options\.temperature.*has no options"):
        build_balance(config, TASKS)


def test_options_reach_the_method():
    options = {"outliers": 1, "selected": 2, "squared": False}
    built = build_balance(BalanceConfig(name="krum", options=options), TASKS)
    assert (built.outliers, built.selected, built.squared) == (1, 2, False)
    with pytest.raises(InvalidArgument, match="`selected` must be a whole number, 1 or more"):
        build_balance(BalanceConfig(name="krum", options={"selected": 1.5}), TASKS)


def test_optimizer_spec_takes_every_option():
    config = OptimizerConfig(
        name="sgd", learning_rate=0.5, weight_decay=0.1, momentum=0.3, nesterov=True,
        rates={"task:sex": 0.5},
    )  # fmt: skip
    spec = build_optimizer_spec(config)
    shared = set(OptimizerConfig.model_fields) - {"clip_norm", "decay_schedule"}
    assert {name: getattr(spec, name) for name in shared} == config.model_dump(include=shared)


def test_schedules():
    assert build_schedule(ScheduleConfig())(0.7) == 1.0
    assert build_schedule(ScheduleConfig(name="cosine"))(1.0) == pytest.approx(0.0)
    assert build_schedule(ScheduleConfig(name="flat-cosine"))(0.5) == 1.0
    warm = build_schedule(ScheduleConfig(name="plateau", warmup=0.1))
    assert warm(0.05) == pytest.approx(0.5)
    assert build_plateau(ScheduleConfig()) is None
    plateau = build_plateau(ScheduleConfig(name="plateau", factor=0.1, patience=2))
    assert (plateau.factor, plateau.patience) == (0.1, 2)


def test_stopping_rules():
    assert isinstance(build_stopping(TrainingConfig(stopping="none")), NoStopping)
    rule = build_stopping(TrainingConfig(stopping="mean", patience=3))
    assert isinstance(rule, Mean)
    assert rule.patience == 3
    assert isinstance(build_stopping(TrainingConfig()), Regret)


def test_objects_are_fresh():
    first, second = (build_stopping(TrainingConfig()) for _ in range(2))
    first.update([1.0], [1.0])
    assert second.scores == []


def test_target_specs():
    spec = target_spec(TargetConfig(name="y", loss="huber", delta=2.0), "regression", center=1.0)
    assert (spec.loss, spec.delta, spec.center) == ("huber", 2.0, 1.0)
    assert target_spec(TargetConfig(name="score"), "binary", name="school 3").name == "school 3"
    with pytest.raises(InvalidArgument, match="'y' is a binary target, to which `loss`"):
        target_spec(TargetConfig(name="y", loss="huber"), "binary")
    with pytest.raises(InvalidArgument, match="declared count and was asked to be binary"):
        target_spec(TargetConfig(name="y", kind="count"), "binary")
    with pytest.raises(UnknownName, match="kind of target 'y'"):
        target_spec(TargetConfig(name="y"), "regresion")


@pytest.mark.parametrize(
    ("name", "options"),
    [("cagrad", {"c": "0.5"}), ("graddrop", {"leak": 0.5}), ("pcgrad", {"seed": 1.5})],
)
def test_an_option_of_another_type_is_refused_in_words(name, options):
    with pytest.raises(InvalidArgument, match=f"`balance.options` must hold .* {name!r}"):
        build_balance(BalanceConfig(name=name, options=options), TASKS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("elastic-net", {"l1_ratio": "0.5"}),
        ("mcp", {"gamma": "3"}),
        ("scad", {"a": "4"}),
        ("spectral", {"iterations": "a"}),
    ],
)
def test_an_option_of_a_penalty_of_another_type_is_refused_in_words(name, options):
    with pytest.raises(InvalidArgument, match=f"`penalties.{name}.options` must hold"):
        build_penalties([PenaltyConfig(name=name, strength=0.1, options=options)])


@pytest.mark.parametrize(
    ("name", "options"),
    [("mcp", {"gamma": 2.0}), ("scad", {"a": 4.0}), ("fused", {"order": ["b", "a"]})],
)
def test_options_of_a_penalty_reach_it(name, options):
    entry = PenaltyConfig(name=name, strength=0.1, roles=("head",), options=options)
    [penalty] = build_penalties([entry])
    assert penalty.strength == 0.1
    assert penalty.selector.roles == {"head"}
    assert {option: getattr(penalty, option) for option in options} == options
