"""Cells of any storage mean the same."""

import datetime
import decimal

import numpy as np
import pandas
import pytest

from polytask.data.parse import (
    label_values,
    missing_cells,
    read_booleans,
    read_datetimes,
    read_levels,
    read_numbers,
    storage,
)

NUMBERS = [
    pandas.Series([3.0, np.nan, 4.5]),
    pandas.Series([3.0, np.nan, 4.5], dtype="float32"),
    pandas.Series([3, None, 4.5], dtype=object),
    pandas.Series([decimal.Decimal(3), None, decimal.Decimal("4.5")]),
    pandas.Series(["3", "", " 4.5 "]),
    pandas.Series(["3.0", "NA", "+4.5"]),
    pandas.Series(["3", "?", "4.5"], dtype=object),
    pandas.Series([3.0, None, 4.5], dtype="category"),
    pandas.Series([3.0, None, 4.5], dtype="Float64"),
]


@pytest.mark.parametrize("column", NUMBERS, ids=lambda c: f"{c.dtype}")
def test_numbers(column):
    values, strangers = read_numbers(column)
    np.testing.assert_array_equal(values, [3.0, np.nan, 4.5])
    assert not strangers.any()


@pytest.mark.parametrize("column", NUMBERS, ids=lambda c: f"{c.dtype}")
def test_levels_do_not_depend_on_the_storage(column):
    codes, levels = read_levels(column)
    assert levels[codes[0]] == "3"
    assert levels[codes[2]] in ("4.5", "+4.5")


def test_numpy_scalars_in_objects_are_numbers_too():
    cells = np.array([np.float64(3.0), np.float64(4.5), None], dtype=object)
    assert read_levels(pandas.Series(cells, dtype=object))[1] == ["3", "4.5"]
    cells = np.array([np.bool_(True), "a"], dtype=object)
    assert read_levels(pandas.Series(cells, dtype=object))[1] == ["true", "a"]


def test_levels_of_truth_values_and_whole_numbers():
    for column in (pandas.Series([True, False]), pandas.Series(["True", "FALSE"])):
        assert read_levels(column)[1] == ["true", "false"]
    for column in (pandas.Series([7, 8]), pandas.Series(["7", "8.0"])):
        assert read_levels(column)[1] == ["7", "8"]
    codes, levels = read_levels(pandas.Series(["3", 3, 3.0], dtype=object))
    assert levels == ["3"]
    assert codes.tolist() == [0, 0, 0]


def test_versions_and_codes_are_not_merged():
    assert read_levels(pandas.Series(["1.10", "1.1", "007", "7"]))[1] == ["1.10", "1.1", "007", "7"]


@pytest.mark.parametrize("text", ["1,5", "0x10", "1_0", "12 kg", "1e", "--1", "1.2.3"])
def test_texts_that_are_no_numbers(text):
    values, strangers = read_numbers(pandas.Series([text, "1"]))
    assert strangers.tolist() == [True, False]
    assert np.isnan(values[0])


@pytest.mark.parametrize("text", [".5", "5.", "1e5", "-2E-3", "inf", "-Infinity"])
def test_texts_that_are_numbers(text):
    values, strangers = read_numbers(pandas.Series([text, "x"]))
    assert strangers.tolist() == [False, True]
    assert values[0] == float(text)


def test_numbers_are_rounded_correctly():
    texts = [repr(v) for v in np.random.default_rng(0).normal(size=500).tolist()]
    assert read_numbers(pandas.Series(texts))[0].tolist() == [float(t) for t in texts]


def test_booleans():
    values, strangers = read_booleans(pandas.Series(["yes", "F", "", "1", "maybe", "2", "NA"]))
    np.testing.assert_array_equal(values, [1, 0, np.nan, 1, np.nan, np.nan, np.nan])
    assert strangers.tolist() == [False] * 4 + [True, True, False]
    assert read_booleans(pandas.Series([True, None], dtype="boolean"))[0][0] == 1


def test_datetimes():
    stamp = datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC).timestamp()
    for column in (
        pandas.Series(["2020-01-02 03:00", None]),
        pandas.Series(["2020-01-02T04:00+01:00", ""]),
        pandas.Series([pandas.Timestamp("2020-01-02 03:00"), pandas.NaT]),
        pandas.Series([pandas.Timestamp("2020-01-02 04:00", tz="Europe/Berlin"), pandas.NaT]),
    ):
        seconds, strangers = read_datetimes(column)
        assert seconds[0] == stamp
        assert np.isnan(seconds[1])
        assert not strangers.any()
    assert read_datetimes(pandas.Series(["x", "2020-01-01"]))[1].tolist() == [True, False]
    assert read_datetimes(pandas.Series([1, 2]))[1].all()


def test_missing_cells():
    assert missing_cells(pandas.Series(["", "  ", None, "NA", "x"])).tolist() == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pandas.Series(["1", "NA", "0"]), [1.0, None, 0.0]),
        (pandas.Series([1, 0, 1]), [1.0, 0.0, 1.0]),
        (pandas.Series(["a", "", "NA"]), ["a", None, "NA"]),
        (pandas.Series(["01", "02", ""]), ["01", "02", None]),
        (pandas.Series(["true", "False", ""]), [True, False, None]),
        (pandas.Series([True, False]), [True, False]),
        (pandas.Series(["x", "y"], dtype="category"), ["x", "y"]),
        (pandas.Series(["5", "high"]), ["5", "high"]),
    ],
)
def test_labels(column, expected):
    found = [None if pandas.isna(value) else value for value in label_values(column).tolist()]
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_storage_of_mixed_objects_is_text():
    assert storage(pandas.Series([1, "a"], dtype=object)) == "text"
    assert storage(pandas.Series(pandas.to_timedelta(["1h"]))) == "duration"
    assert read_numbers(pandas.Series(pandas.to_timedelta(["1h", None])))[0][0] == 3600
