"""Run file < options < --set."""

from pathlib import Path

import pytest

from polytask.cli.arguments import Typed, merge
from polytask.errors import InvalidArgument, PolytaskError

FILE = """
seed = 5
[[targets]]
name = "sex"
class_weight = "balanced"
[[targets]]
name = "age"
[model]
width = 64
depth = 2
[data]
group = "ward"
ignore = ["x", "y"]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    return path


def test_the_order(config):
    run, valid = merge(
        Typed(config=config, seed=6, group="hospital", overrides=["model.width=8", "seed=7"])
    )
    assert valid is None
    assert (run.model.width, run.model.depth) == (8, 2)  # --set over the file, file kept
    assert run.seed == 7  # --set over the option
    assert run.data.group == "hospital"  # option over the file
    assert run.data.ignore == ("x", "y")
    assert [target.name for target in run.targets] == ["sex", "age"]


def test_typed_targets_replace_the_list_and_keep_the_details(config):
    run, _ = merge(Typed(config=config, targets=["sex:binary", "bp"]))
    assert [(t.name, t.kind, t.class_weight) for t in run.targets] == [
        ("sex", "binary", "balanced"),
        ("bp", "auto", "none"),
    ]


def test_a_colon_in_a_name():
    run, _ = merge(Typed(targets=[r"a\:b", '"c:d":count']))
    assert [(t.name, t.kind) for t in run.targets] == [("a:b", "auto"), ("c:d", "count")]


@pytest.mark.parametrize(
    ("text", "fraction", "file"),
    [("0.3", 0.3, None), ("0", 0.0, None), ("v.csv", 0.2, Path("v.csv"))],
)
def test_valid_is_a_fraction_or_a_file(text, fraction, file):
    run, found = merge(Typed(targets=["a"], valid=text))
    assert (run.split.valid, found) == (fraction, file)


def test_every_option_lands_in_its_place():
    run, _ = merge(
        Typed(
            targets=["a"], task_column="t", time="day", weight="w", id=["i", "j"], ignore=["k"],
            balance="pooled", seed=3,
        )
    )  # fmt: skip
    data = run.data
    assert (data.task_column, data.time, data.weight) == ("t", "day", "w")
    assert (data.id, data.ignore) == (("i", "j"), ("k",))
    assert (run.balance.name, run.seed) == ("pooled", 3)


@pytest.mark.parametrize(
    ("typed", "start"),
    [
        ({"seed": -1}, "--seed -1: `seed` must be at least 0"),
        ({"overrides": ["model.width=0"]}, "--set model.width=0: `model.width` must be at least 1"),
    ],
)
def test_the_option_is_blamed_and_not_the_file(config, typed, start):
    with pytest.raises(PolytaskError) as caught:
        merge(Typed(config=config, **typed))
    assert str(caught.value).startswith(start)


def test_the_file_is_blamed_for_its_own(config):
    config.write_text(FILE.replace("depth = 2", "detph = 2"))
    with pytest.raises(PolytaskError) as caught:
        merge(Typed(config=config, seed=1))
    assert str(caught.value).startswith(f"{config}: `model.detph` does not exist. Did you mean")


def test_a_section_that_is_no_table(config):
    config.write_text('data = 3\n[[targets]]\nname = "a"\n')
    with pytest.raises(InvalidArgument, match="`data` must be a table; got 3"):
        merge(Typed(config=config, group="ward"))
