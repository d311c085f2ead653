import re

import pytest

from polytask.config.overrides import parse_override
from polytask.config.presets import PRESETS
from polytask.config.run import RunConfig
from polytask.data.finding import Finding
from polytask.diagnostics import Imbalance
from polytask.diagnostics.advice import ARGUMENTS, Advice, _Settings, advise
from polytask.diagnostics.verdict import Verdict, VerdictNumbers


def verdict(task="y", word="ok", *, trajectory="", also=(), **numbers):
    return Verdict(task, word, "...", also, trajectory, VerdictNumbers(300, **numbers))


def commands(*verdicts, **options):
    return [advice.command for advice in advise(verdicts, **options)]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_exists(name):
    command = _Settings({}).command(name)
    option, value = command.split(" ", 1)
    if option == "--defence":
        assert value in PRESETS
        return
    assert option == "--set"
    (section, key), text = parse_override(value)
    kind = type(getattr(getattr(RunConfig(targets=()), section), key))
    changed = {section: {key: text if kind is str else kind(text)}}
    run = RunConfig.model_validate({"targets": [], **changed})
    assert getattr(getattr(run, section), key) != getattr(
        getattr(RunConfig(targets=()), section), key
    ) or name in ("stop",)


def test_ok_runs_are_left_alone():
    assert advise([verdict()], labels=[5000], rows=5000) == ()


def test_overfitting_starts_with_what_is_off():
    off = {"defence": "off", "training": {"stopping": "none"}}
    first = commands(verdict(word="overfits"), settings=off)
    assert first[:2] == ["--set training.stopping=regret", "--defence safe"]
    assert commands(verdict(word="overfits"))[0] == "--defence strong"


def test_nothing_is_suggested_that_is_on():
    on = {
        "defence": "strong",
        "inputs": {"mixup": 0.2},
        "model": {"dropout": 0.5},
        "averaging": {"name": "ema"},
        "training": {"keep": "per-task", "stopping": "distil"},
    }
    apart = (
        verdict("a", "overfits", also=("unstable",), best_epoch=3, kept=1.5, best=1.0),
        verdict("b", best_epoch=30, kept=1.0, best=1.0),
    )
    assert commands(*apart, settings=on) == [
        "--set optimizer.weight_decay=0.003",
        "--set optimizer.learning_rate=0.0003",
    ]


@pytest.mark.parametrize("option", ["mixup", "c_mixup", "cutmix", "manifold_mixup"])
def test_rows_that_are_mixed_are_not_mixed_in_another_way(option):
    found = commands(verdict(word="overfits"), settings={"inputs": {option: 0.5}})
    assert not any("mixup" in command for command in found)


def test_a_learned_probability_is_not_raised():
    found = commands(verdict(word="overfits"), settings={"model": {"concrete_dropout": True}})
    assert "--set optimizer.weight_decay=0.003" in found
    assert not any("dropout" in command for command in found)


def test_underfitting_asks_for_epochs_before_width_where_the_loss_still_fell():
    found = commands(verdict(word="underfits", trajectory="was still improving at the last epoch"))
    assert found[:2] == ["--set training.epochs=512", "--set model.width=512"]


def test_own_epochs_count_only_where_somebody_loses():
    settled = verdict("a", best_epoch=3, kept=1.0, best=1.0)
    late = verdict("b", best_epoch=30, kept=1.0, best=1.0)
    assert commands(settled, late) == []
    losing = verdict("a", best_epoch=3, kept=1.2, best=1.0, standard_error=0.1)
    assert commands(losing, late) == [
        "--set training.keep=per-task",
        "--set training.stopping=distil",
    ]


def test_better_models_and_few_rows():
    lost = verdict(over_linear=-0.1, over_linear_error=0.02)
    assert commands(lost) == ["--defence linear"]
    even = verdict(over_linear=-0.01, over_linear_error=0.02)
    assert commands(even) == []
    assert commands(verdict(), against_single={"y": "worse"}) == [
        "--set distillation.teacher=single-task"
    ]
    assert commands(verdict(), rows=500) == ["--defence small"]
    assert commands(verdict(word="too few rows")) == ["--set split.valid=0.3"]


def test_imbalances_are_advice_of_their_own():
    torn = Imbalance("conflict", ("a", "b"), "They conflict.", "Use upgrad.", "--balance upgrad")
    huge = Imbalance("domination", ("a",), "'a' dominates.", "Use x.", "--balance nash-mtl")
    found = advise([verdict()], imbalances=[huge, torn], labels=[5000], rows=5000)
    assert [one.command for one in found] == ["--balance nash-mtl", "--balance upgrad"]
    assert found[0].direction == "Loss of the other tasks down."
    assert found[1] == Advice(
        "Use upgrad. They conflict.", "Loss of a and b down.", "--balance upgrad", ("a", "b")
    )


def test_severe_findings_come_first():
    leak = Finding("leak-linear", "danger", ("x",), "'x' gives 'y' away.", "Leave it out.")
    first = advise([verdict(word="overfits")], findings=[leak])[0]
    assert first == Advice(
        "'x' gives 'y' away. Leave it out.", "Figures that can be believed; they may look worse."
    )


def test_no_command_comes_twice():
    many = [verdict(f"t{i}", "overfits", also=("underfits", "unstable")) for i in range(9)]
    found = [advice for advice in advise(many, rows=100) if advice.command]
    assert len({advice.command for advice in found}) == len(found)
    assert all(re.search(r"t0, t1, t2 and 6 more", a.words) for a in found[:2])
