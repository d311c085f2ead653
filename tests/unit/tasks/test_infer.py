import numpy as np
import pytest

from polytask.errors import DataError, InvalidArgument, UnknownName
from polytask.tasks import Regression, build_spec, infer_kind, parse_target


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([0.5, 1.5, 2.25], "regression"),
        ([3, 4, 5, 6, 9], "regression"),  # grades are ordered
        (["3", "4", "5.5"], "regression"),
        ([0, 1, 1, np.nan], "binary"),
        ([True, False], "binary"),
        (["a", "b", None], "binary"),
        (["a", "b", "c"], "multiclass"),
        (["1", "2", "x"], "multiclass"),
        ([1.0, 2.0, np.inf], "regression"),  # so that the sentence about infinite values is said
    ],
)
def test_kinds(cells, kind):
    cells = np.array(cells, dtype=object)
    found, reason = infer_kind(cells, name="grade")
    assert found == kind
    assert reason.startswith("'grade' has ")
    assert reason.endswith(".")


def test_category_columns_of_numbers_are_classes():
    cells = np.array([1, 2, 3])
    assert infer_kind(cells, category=True)[0] == "multiclass"
    assert infer_kind(cells)[0] == "regression"


def test_reason_says_how_to_override():
    _, reason = infer_kind(np.array([3, 4, 9]), name="grade")
    assert reason == (
        "'grade' has 3 distinct whole numbers: regression. Type 'grade:count' if they count "
        "events, 'grade:multiclass' if they are codes of classes."
    )


def test_nothing_to_learn_is_refused():
    with pytest.raises(DataError, match="'t' has only one value, 7;"):
        infer_kind(np.array([7, 7, np.nan]), name="t")
    with pytest.raises(DataError, match="'t' has no label"):
        infer_kind(np.array([None, np.nan], dtype=object), name="t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age", ("age", None)),
        ("age:count", ("age", "count")),
        ("age:auto", ("age", None)),
        (r"a\:b", ("a:b", None)),
        (r"a\:b:binary", ("a:b", "binary")),
        ('"a:b"', ("a:b", None)),
        ('"a:b":binary', ("a:b", "binary")),
        ('"say \\"hi\\": x":count', ('say "hi": x', "count")),
        (r'"c:\\temp"', (r"c:\temp", None)),
        (r"c\temp", (r"c\temp", None)),
        ("blood pressure:regression", ("blood pressure", "regression")),
        ("größe:regression", ("größe", "regression")),
    ],
)
def test_parse_target(text, expected):
    assert parse_target(text) == expected


@pytest.mark.parametrize("text", ["", ":binary", '""', '"open', '"a"b', '"a"binary'])
def test_malformed_targets(text):
    with pytest.raises(InvalidArgument, match="must have the form"):
        parse_target(text)


def test_unknown_kind_names_the_nearest():
    with pytest.raises(UnknownName, match=r"Did you mean 'regression'.*is written \\:"):
        parse_target("age:regresion")
    with pytest.raises(UnknownName, match="Target 'age': `kind` '' does not exist"):
        parse_target("age:")


def test_build_spec():
    spec = build_spec("regression", "age", loss="huber", delta=2.0, weight=3.0, columns=["a"])
    assert spec == Regression("age", ("a",), 3.0, loss="huber", delta=2.0)
    assert build_spec("binary", "s", class_weight="balanced", positive="f").positive == "f"
    assert build_spec("multiclass", "s", classes=[1, 2]).classes == (1, 2)
    assert build_spec("multilabel", "s", columns=["a", "b"]).columns == ("a", "b")
    assert build_spec("count", "s").kind == "count"


def test_options_of_another_kind_are_refused():
    with pytest.raises(
        InvalidArgument,
        match=r"'s' is a binary target, to which `loss` does not apply \(it belongs to regr",
    ):
        build_spec("binary", "s", loss="huber")
    with pytest.raises(InvalidArgument, match=r"belongs to binary, multiclass, multilabel"):
        build_spec("regression", "s", label_smoothing=0.1)
    with pytest.raises(UnknownName, match="Did you mean 'count'"):
        build_spec("counts", "s")
