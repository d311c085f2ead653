"""Column kinds: what is inferred, why, and what can be overridden."""

import numpy as np
import pandas
import pytest

from polytask.data import infer_schema, schema_from_json
from polytask.data.schema import ColumnKind
from polytask.errors import DataError, UnknownName

N = 40
GENERATOR = np.random.default_rng(0)
WORDS = ["red", "green", "blue", "grey"]

CASES = {
    "numbers": (GENERATOR.normal(size=N), "numeric"),
    "numbers as texts": ([f"{v:.3f}" for v in GENERATOR.normal(size=N)], "numeric"),
    "numbers with NA": (["NA", "?", ""] + [str(k % 7) for k in range(N - 3)], "numeric"),
    "all different floats": (np.sqrt(np.arange(N) + 2.0), "numeric"),
    "all different, no order": (GENERATOR.permutation(N) * 7 + 3, "numeric"),
    "zeros and ones": ([0, 1] * (N // 2), "numeric"),
    "counted from 0": (np.arange(N), "identifier"),
    "counted from 1, shuffled": (GENERATOR.permutation(N) + 1, "identifier"),
    "counted down": (np.arange(N)[::-1] + 500, "identifier"),
    "patient id": (GENERATOR.permutation(N) * 7 + 3, "identifier"),
    "patientID": (GENERATOR.permutation(N) * 7 + 3, "identifier"),
    "width": (GENERATOR.permutation(N) * 7 + 3, "numeric"),
    "words": (WORDS * (N // 4), "category"),
    "words with NA": (["NA", "?"] * (N // 2), "category"),
    "names": ([f"patient {k}" for k in range(N)], "identifier"),
    "codes": ([f"0{k % 5}" for k in range(N)], "category"),
    "booleans": ([True, False] * (N // 2), "boolean"),
    "yes and no": (["yes", "No", ""] * (N // 4) + ["yes"] * (N - 3 * (N // 4)), "boolean"),
    "yes, no, unknown": (["yes", "no", "?"] * (N // 3) + ["no"] * (N - 3 * (N // 3)), "category"),
    "dates": (pandas.date_range("2020-01-01", periods=N), "datetime"),
    "dates as texts": ([f"2020-03-{1 + k % 28:02d} 10:00" for k in range(N)], "datetime"),
    "German dates": ([f"{1 + k % 28:02d}.03.2020" for k in range(N)], "datetime"),
    "ambiguous dates": ([f"{1 + k % 12:02d}/03/2020" for k in range(N)], "category"),
    "one value": ([3] * N, "constant"),
    "one text": (["x"] * N, "constant"),
    "no value": ([None] * N, "constant"),
    "one value and gaps": ([3.0, None] * (N // 2), "numeric"),
}


@pytest.mark.parametrize("name", CASES)
def test_kinds(name):
    values, kind = CASES[name]
    (column,) = infer_schema(pandas.DataFrame({name: values})).columns
    assert column.kind == kind, column.reason
    assert column.reason


def test_declared_categories_are_categories():
    frame = pandas.DataFrame({"c": pandas.Categorical([1, 2, 3] * 5)})
    assert infer_schema(frame)["c"].kind == "category"


def test_missing_and_unique_are_counted():
    column = infer_schema(pandas.DataFrame({"a": ["1", "1.0", "NA", "", None, "2"]}))["a"]
    assert (column.missing, column.unique) == (3, 2)
    assert "NA" in column.reason


def test_overrides():
    frame = pandas.DataFrame({"code": ["1", "2", "3"], "b": [0, 1, 0], "d": ["2020-01-02"] * 3})
    kinds = {"code": "category", "b": "boolean", "d": "ignore"}
    schema = infer_schema(frame, kinds)
    assert [str(column.kind) for column in schema.columns] == ["category", "boolean", "ignore"]
    assert [column.name for column in schema.inputs(["code", "b", "d"])] == ["code", "b"]


@pytest.mark.parametrize("kind", ["numeric", "boolean", "datetime"])
def test_an_override_that_contradicts_the_cells(kind):
    frame = pandas.DataFrame({"a": ["1", "red", "blue"]})
    with pytest.raises(DataError, match="'a' cannot be"):
        infer_schema(frame, {"a": kind})


def test_unknown_names():
    frame = pandas.DataFrame({"age": [1.5, 2.5]})
    with pytest.raises(DataError, match="'age'"):
        infer_schema(frame, {"agee": "numeric"})
    with pytest.raises(UnknownName, match="'numeric'"):
        infer_schema(frame, {"age": "numerik"})
    with pytest.raises(DataError, match="'age'"):
        infer_schema(frame)["agee"]


def test_cells_that_are_no_values():
    with pytest.raises(DataError, match="'a' holds cells of type list"):
        infer_schema(pandas.DataFrame({"a": [[1], [2]]}))


def test_a_decimal_comma_is_named():
    frame = pandas.DataFrame({"a": [f"{k % 9},5" for k in range(N)]})
    assert "decimal comma" in infer_schema(frame)["a"].reason


def test_json_round_trip():
    frame = pandas.DataFrame({name: pandas.Series(values) for name, (values, _) in CASES.items()})
    schema = infer_schema(frame)
    assert schema_from_json(schema.to_json()) == schema
    assert {column.kind for column in schema.columns} >= set(ColumnKind) - {ColumnKind.IGNORE}
