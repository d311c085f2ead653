"""A bundle of schema version 1 loads and predicts the same numbers for ever."""

from pathlib import Path

import pandas
import pytest

from polytask import load

FILE = Path(__file__).parent / "data" / "bundle-v1.safetensors"

TABLE = pandas.DataFrame(
    {
        "id": ["a", "b", "c", "d"],
        "size": [2.0, None, 100.0, 1.0],
        "new": [True, False, True, False],
        "day": pandas.to_datetime(
            ["2024-02-01 00:00", "2024-02-14 12:00", "2030-07-01 06:00", "2024-01-30 00:00"]
        ),
        "colour": ["red", "green", "violet", None],
        "place": ["place 3", "place 10", "elsewhere", None],
    }
)

Y = [44.629371, 10.527451, 33.712014, 45.194649]
B = [0.60071925, 0.18467674, 0.450735, 0.608223]
C2 = [0.094022584, 0.26271968, 0.73132111, 0.070944481]


@pytest.fixture(scope="module")
def predicted():
    return load(FILE).predict(TABLE)


def test_columns(predicted):
    chances = [f"c_probability_{label}" for label in (1, 2, 3)]
    assert list(predicted.columns) == ["id", "y", "b", "b_probability_yes", "c", *chances]
    assert predicted["id"].tolist() == ["a", "b", "c", "d"]
    assert set(predicted["b"]) <= {"no", "yes"}
    assert set(predicted["c"]) <= {1, 2, 3}


def test_numbers(predicted):
    # float32 arithmetic in another order or on another machine keeps six digits.
    assert predicted["y"].tolist() == pytest.approx(Y, rel=1e-5)
    assert predicted["b_probability_yes"].tolist() == pytest.approx(B, rel=1e-5)
    assert predicted["c_probability_2"].tolist() == pytest.approx(C2, rel=1e-5)


def test_the_numbers_see_every_column():
    # Otherwise a change in the encoding of a column would go unnoticed.
    full = load(FILE).predict(TABLE)["y"].to_numpy()
    for column in ("size", "new", "day", "colour", "place"):
        changed = TABLE.assign(**{column: TABLE[column].to_numpy()[[1, 0, 3, 2]]})
        assert abs(load(FILE).predict(changed)["y"].to_numpy() - full).max() > 1e-3, column


def test_manifest():
    manifest = load(FILE).manifest
    assert manifest["schema_version"] == 1
    assert manifest["columns"] == ["size", "new", "day", "colour", "place"]
    assert manifest["run"] == {"seed": 0}
