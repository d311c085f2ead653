"""The catalogue tells the truth about the code, and nothing that exists is missing from it."""

import subprocess
import sys
from inspect import isabstract, isclass, signature
from typing import Literal, get_args, get_origin

import pytest

from polytask import aggregation, balancing, tasks
from polytask.balancing import LossBalancer
from polytask.config import FAMILIES, METHODS, build_balance, find, methods, resolve
from polytask.config.catalogue import construct
from polytask.config.conditions import HELD_OUT, PREFERRING
from polytask.config.run import (
    AveragingConfig,
    BalanceConfig,
    InputsConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
    UpdateConfig,
)
from polytask.errors import InvalidArgument, UnknownName


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.family}:{m.name}")
def test_every_entry_exists(method):
    assert callable(resolve(method.family, method.name))
    assert method.one_line.endswith(".")
    assert method.family in FAMILIES


def test_names_are_unique_within_a_family():
    names = [(method.family, method.name) for method in METHODS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("family", "section", "field"),
    [
        ("backbone", ModelConfig, "backbone"),
        ("optimizer", OptimizerConfig, "name"),
        ("schedule", ScheduleConfig, "name"),
        ("stopping", TrainingConfig, "stopping"),
    ],
)
def test_the_run_file_offers_the_same_names(family, section, field):
    annotation = section.model_fields[field].annotation
    assert get_origin(annotation) is Literal
    assert list(get_args(annotation)) == [method.name for method in methods(family)]


def test_every_kind_of_target_is_listed():
    assert [method.name for method in methods("task")] == list(tasks.SPECS)
    for method in methods("task"):
        assert resolve("task", method.name) is tasks.SPECS[method.name]


def test_every_balancer_is_listed():
    concrete = set()
    bases = (LossBalancer, aggregation.GramianAggregator, aggregation.GradientAggregator)
    for room, base in zip((balancing, aggregation, aggregation), bases, strict=True):
        public = [getattr(room, name) for name in room.__all__]
        classes = {cls for cls in public if isclass(cls) and issubclass(cls, base)}
        concrete |= {cls for cls in classes if not isabstract(cls)}
    wrappers = {cls for cls in concrete if "aggregator" in signature(cls).parameters}
    listed = {resolve("balancing", method.name) for method in methods("balancing")}
    assert listed == concrete - wrappers
    assert len(wrappers) == 4


@pytest.mark.parametrize("method", methods("balancing"), ids=lambda method: method.name)
def test_what_a_balancing_method_needs_is_what_it_declares(method):
    built = build_balance(
        BalanceConfig(
            name=method.name, schedule={"a": [(0, 1.0)]} if method.name == "scheduled" else {}
        ),
        ["a", "b"],
    )
    if method.needs == "losses":
        assert isinstance(built, LossBalancer)
        assert (method.name in HELD_OUT) == built.held_out
    elif method.needs == "jacobian":
        assert isinstance(built, aggregation.GradientAggregator)
    else:
        assert isinstance(built, aggregation.GramianAggregator)
        assert built.needs == method.needs
    assert (method.name in PREFERRING) == ("preference" in signature(type(built)).parameters)


def test_unknown_names_get_the_nearest():
    with pytest.raises(
        UnknownName, match=r"`balance` 'poled' does not exist. Did you mean 'pooled'"
    ):
        find("balancing", "poled", option="balance")
    with pytest.raises(
        UnknownName, match=r"`family` 'balance' does not exist. Did you mean 'balanc"
    ):
        methods("balance")


def test_listing_loads_nothing():
    code = (
        "import sys; from polytask.config import methods; methods(); "
        "print(*{'torch', 'pydantic', 'numpy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_presets_are_listed_in_the_same_words():
    from polytask.config.presets import PRESETS

    listed = {m.name: (m.one_line, m.cost) for m in methods("defence")}
    assert listed == {name: (preset.one_line, preset.cost) for name, preset in PRESETS.items()}


@pytest.mark.parametrize(
    ("family", "section"),
    [("input", InputsConfig), ("layer", ModelConfig), ("update", UpdateConfig)],
)
def test_techniques_are_options_of_the_run_file(family, section):
    assert {method.name for method in methods(family)} <= set(section.model_fields)


def test_averages_are_options_of_the_run_file():
    names = [method.name for method in methods("averaging")]
    assert list(get_args(AveragingConfig.model_fields["name"].annotation)) == ["none", *names]


def test_an_error_that_is_not_the_users_goes_on():
    def broken(c: float = 1.0) -> None:
        raise TypeError("a flaw of the method")

    for options, kind in (({}, TypeError), ({"c": "a"}, InvalidArgument)):
        with pytest.raises(kind):
            construct(broken, options, option="balance.options", name="broken", options=options)
