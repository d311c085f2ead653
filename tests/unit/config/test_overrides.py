"""``--set``: keys, values, and who is blamed."""

import pytest

from polytask.config import apply_overrides, run_from_document
from polytask.config.overrides import parse_override, parse_value
from polytask.errors import InvalidArgument, UnknownName

BASE = {"targets": [{"name": "sex"}, {"name": "a.b"}], "model": {"width": 32}}


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("seed=1", ("seed",), "1"),
        (" model.width = 64 ", ("model", "width"), "64"),
        ("optimizer.rates.role:head=2", ("optimizer", "rates", "role:head"), "2"),
        ('balance.weights."a.b"=2', ("balance", "weights", "a.b"), "2"),
        ('balance.weights."a=b"=2', ("balance", "weights", "a=b"), "2"),
        ("data.separator==", ("data", "separator"), "="),
    ],
)
def test_keys(text, keys, value):
    assert parse_override(text) == (keys, value)


@pytest.mark.parametrize("text", ["", "seed", "=3", "model.=3", ".x=1", '"a=1'])
def test_other_forms_are_refused(text):
    with pytest.raises(InvalidArgument, match="form key=value"):
        parse_override(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000", 1000),
        ("-2.5e3", -2500.0),
        ("inf", float("inf")),
        ("false", False),
        ("False", "False"),
        ("'64'", "64"),
        ("{sex = 2}", {"sex": 2}),
        ("[[0, 1.0], [5, 0.1]]", [[0, 1.0], [5, 0.1]]),
        ("cosine", "cosine"),
        ("", ""),
        ("1\nseed = 2", "1\nseed = 2"),
    ],
)
def test_values(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_the_last_override_wins_and_the_original_stays():
    changed, sources = apply_overrides(BASE, ["model.width=64", "model.width=128"])
    assert changed["model"]["width"] == 128
    assert BASE["model"]["width"] == 32
    assert sources[-1] == (("model", "width"), "--set model.width=128")


@pytest.mark.parametrize("key", ["targets.0.kind", "targets.sex.kind"])
def test_targets_by_name_or_position(key):
    changed, _ = apply_overrides(BASE, [f"{key}=binary"])
    assert changed["targets"][0] == {"name": "sex", "kind": "binary"}


def test_a_target_with_a_dot_is_quoted():
    changed, _ = apply_overrides(BASE, ['targets."a.b".weight=2'])
    assert changed["targets"][1]["weight"] == 2


def test_an_unknown_target_names_the_nearest():
    with pytest.raises(UnknownName, match=r"'sxe' does not exist. Did you mean 'sex'"):
        apply_overrides(BASE, ["targets.sxe.kind=binary"])


def test_text_options_need_no_quotes():
    changed, _ = apply_overrides(BASE, ["data.weight=2020", "targets.sex.positive=1"])
    assert run_from_document(changed).data.weight == "2020"
    assert run_from_document(changed).targets[0].positive == "1"


def test_a_key_cannot_go_through_a_value():
    with pytest.raises(InvalidArgument, match=r"`model\.width` is a single value, 32"):
        apply_overrides(BASE, ["model.width.x=1"])


def test_a_whole_table_or_list_at_once():
    changed, _ = apply_overrides(
        BASE,
        [
            'optimizer.rates={"role:head" = 2.0, "task:sex" = 0.5}',
            "balance.weights={sex = 2}",
            'data.ignore=["a", "b"]',
            "data.weight=2020",
        ],
    )
    assert changed["optimizer"]["rates"] == {"role:head": 2.0, "task:sex": 0.5}
    assert changed["balance"]["weights"] == {"sex": 2}
    assert changed["data"] == {"ignore": ["a", "b"], "weight": "2020"}
