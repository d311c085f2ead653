"""From columns to tensors: fitted on training rows, total on any rows."""

import json

import numpy as np
import pandas
import pytest
import torch

from polytask.data import FeatureEncoder, infer_schema
from polytask.data.columns import date_parts
from polytask.data.scale import robust_scale, smooth_clip, standard_scale
from polytask.errors import DataError, PolytaskWarning

N = 60


def table(rows=N, seed=0):
    generator = np.random.default_rng(seed)
    return pandas.DataFrame(
        {
            "size": generator.normal(10, 4, rows),
            "gaps": np.where(generator.random(rows) < 0.3, np.nan, generator.normal(size=rows)),
            "bit": generator.integers(0, 2, rows),
            "yes": pandas.Series(generator.choice(["yes", "no", None], rows), dtype="str"),
            "colour": pandas.Series(generator.choice(["red", "blue", None], rows), dtype="str"),
            "town": [f"town {k % 14}" for k in range(rows)],
            "day": pandas.date_range("2021-01-01", periods=rows, freq="7h"),
        }
    )


def fitted(frame, **options):
    return FeatureEncoder.fit(frame, infer_schema(frame).columns, **options)


def column_of(encoder, inputs, name):
    return inputs["numeric"][:, encoder.feature_names.index(name)]


def test_every_kind_of_column():
    frame = table()
    encoder = fitted(frame)
    inputs = encoder.transform(frame)
    assert inputs["numeric"].dtype == torch.float32
    assert inputs["categories"].dtype == torch.int64
    assert inputs["numeric"].shape == (N, encoder.numeric_width)
    assert encoder.cardinalities == (16,)
    assert encoder.category_names == ("town",)
    assert inputs["numeric"].isfinite().all()
    assert column_of(encoder, inputs, "bit").tolist() == frame["bit"].tolist()
    assert "colour (missing)" in encoder.feature_names
    assert "bit (missing)" not in encoder.feature_names
    flags = column_of(encoder, inputs, "gaps (missing)")
    assert flags.tolist() == frame["gaps"].isna().tolist()
    value = column_of(encoder, inputs, "gaps")
    assert value[flags > 0].abs().max() == 0  # the median is the centre of the scale


def test_inputs_of_one_column_are_a_block():
    """By the names of the inputs: all that begin like the column, and no column of one input."""
    encoder = fitted(table())
    names = encoder.feature_names
    found = [[names[index] for index in block] for block in encoder.blocks]
    expected = []
    for column in table().columns:
        own = [
            name
            for name in names
            if name == column or name.startswith((f"{column} ", f"{column}=", f"{column}."))
        ]
        expected += [own] if len(own) > 1 else []
    assert found == expected
    assert ["gaps", "gaps (missing)"] in found
    assert not any("size" in block for block in found)


def test_statistics_come_from_training_rows_only():
    train, other = table(seed=0), table(seed=1)
    other["size"] += 1000
    alone = fitted(train)
    inputs = alone.transform(other)
    assert column_of(alone, inputs, "size").min() > 2.9  # far out, clipped at 3
    assert alone.columns == fitted(train).columns


def test_rows_do_not_depend_on_their_neighbours():
    frame = table()
    encoder = fitted(frame)
    whole, one = encoder.transform(frame), encoder.transform(frame.iloc[[7]])
    assert torch.equal(whole["numeric"][7], one["numeric"][0])
    assert torch.equal(whole["categories"][7], one["categories"][0])
    assert encoder.transform(frame.iloc[:0])["numeric"].shape == (0, encoder.numeric_width)


def test_the_same_cells_in_another_storage():
    frame = table()
    encoder = fitted(frame)
    texts = frame.astype(object).where(frame.notna(), "").astype(str)
    for other in (texts, frame[frame.columns[::-1]], frame.astype({"colour": "category"})):
        for name, tensor in encoder.transform(other).items():
            assert torch.equal(tensor, encoder.transform(frame)[name])


def test_codes_of_embedded_levels():
    frame = pandas.DataFrame({"c": ["b", "a", None, "b"]})
    encoder = fitted(frame, one_hot_up_to=0)
    other = pandas.DataFrame({"c": ["a", "b", "new", None]})
    assert encoder.transform(other)["categories"][:, 0].tolist() == [2, 3, 1, 0]
    assert "numeric" not in encoder.transform(other)
    assert encoder.cardinalities == (4,)


def test_one_hot_levels_unseen_levels_and_new_gaps():
    encoder = fitted(pandas.DataFrame({"c": ["b", "a", "b"], "x": [1.0, 2.0, 4.0]}))
    assert encoder.feature_names == ("c=a", "c=b", "x")
    rows = encoder.transform(pandas.DataFrame({"c": ["a", "z", None], "x": [2.0, None, 2.0]}))
    assert rows["numeric"].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_levels_match_whatever_type_they_come_in():
    encoder = fitted(pandas.DataFrame({"c": pandas.Categorical(["3", "4", "3"])}))
    for cells in ([3, 4], [3.0, 4.0], ["3", "4"], ["3.0", " 4 "]):
        assert encoder.transform(pandas.DataFrame({"c": cells}))["numeric"].tolist() == [
            [1, 0],
            [0, 1],
        ]


def test_constant_columns_divide_nothing_by_zero():
    frame = pandas.DataFrame(
        {"a": [5.0] * 4, "b": ["x"] * 4, "c": [None] * 4, "d": [1.0, 2.0, 3.0, 4.0]}
    )
    schema = infer_schema(frame, dict.fromkeys("ab", "category") | {"c": "numeric"})
    encoder = FeatureEncoder.fit(frame, schema.columns)
    assert encoder.feature_names == ("d",)
    assert encoder.dropped == ("a", "b", "c")
    assert "not used" in encoder.describe("c")


def test_a_constant_with_gaps_keeps_its_flag():
    encoder = fitted(pandas.DataFrame({"a": [5.0, None, 5.0]}))
    assert encoder.feature_names == ("a (missing)",)


def test_infinite_values_are_named():
    frame = pandas.DataFrame({"x": [1.0, np.inf, -np.inf, 2.0]})
    with pytest.raises(DataError, match=r"'x' has 2 infinite values"):
        fitted(frame)
    encoder = fitted(pandas.DataFrame({"x": [1.0, 2.0, 4.0]}))
    with pytest.raises(DataError, match="1 infinite value;"):
        encoder.transform(pandas.DataFrame({"x": ["inf"]}))


def test_a_table_that_lacks_columns():
    encoder = fitted(table())
    with pytest.raises(DataError, match="lacks the column 'size' "):
        encoder.transform(table().rename(columns={"size": "Size"}))
    with pytest.raises(DataError, match="'size', 'town'"):
        encoder.transform(table().drop(columns=["size", "town"]))


@pytest.mark.parametrize(
    ("name", "cells", "words"),
    [
        ("size", ["large", "3"], "must hold numbers"),
        ("size", pandas.to_datetime(["2020-01-01", "2020-01-02"]), "must hold numbers"),
        ("yes", ["maybe", "no"], "must hold truth values"),
        ("yes", [2, 0], "must hold truth values"),
        ("day", ["yesterday", "2020-01-01"], "must hold dates"),
        ("day", [1.0, 2.0], "must hold dates"),
    ],
)
def test_a_column_of_another_type(name, cells, words):
    encoder = fitted(table())
    frame = table(2)
    frame[name] = cells
    with pytest.raises(DataError, match=f"'{name}' {words}.*of 2"):
        encoder.transform(frame)


def test_no_input_left():
    with pytest.raises(DataError, match="No input column is left"):
        fitted(pandas.DataFrame({"id": range(20)}))


def test_a_category_of_which_nothing_is_known_warns():
    frame = pandas.DataFrame({"c": ["red", "blue"] * 10})
    with pytest.warns(PolytaskWarning, match="'c': no value, such as '1'"):
        fitted(frame).transform(pandas.DataFrame({"c": [1] * 20}))


@pytest.mark.parametrize("scaling", ["robust", "standard", "none"])
def test_state_round_trip_is_exact(scaling):
    frame = table()
    encoder = fitted(frame, scaling=scaling)
    tensors, document = encoder.state()
    again = FeatureEncoder.from_state(tensors, json.loads(json.dumps(document)))
    assert again == encoder
    for name, tensor in encoder.transform(frame).items():
        assert torch.equal(tensor, again.transform(frame)[name])
    assert not any(isinstance(v, float) for c in document["columns"] for v in c.values())


def test_dates_become_time_passed_and_places_on_circles():
    frame = pandas.DataFrame({"d": ["2020-01-06 00:00", "2020-01-07 06:00", "2021-04-05 12:00"]})
    encoder = fitted(frame, scaling="none")
    inputs = encoder.transform(frame)
    assert column_of(encoder, inputs, "d.elapsed").tolist() == [0.0, 1.25, 455.5]
    assert column_of(encoder, inputs, "d.year").tolist() == [2020, 2020, 2021]
    hour = column_of(encoder, inputs, "d.hour (sin)")
    torch.testing.assert_close(hour, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    gap = encoder.transform(pandas.DataFrame({"d": [None, "2020-01-06"]}))
    assert gap["numeric"].isfinite().all()


def test_date_parts_equal_those_of_pandas():
    days = pandas.Series(pandas.date_range("1965-03-01", "2035-01-01", periods=999).floor("s"))
    seconds = (days - pandas.Timestamp(0)).dt.total_seconds().to_numpy()
    parts = date_parts(seconds)
    assert parts["year"].tolist() == days.dt.year.tolist()
    assert parts["month"].tolist() == (days.dt.month - 1).tolist()
    assert parts["weekday"].tolist() == days.dt.day_of_week.tolist()
    np.testing.assert_array_equal(np.floor(parts["hour"]), days.dt.hour)


def test_robust_scale_falls_back_to_the_range():
    values = np.array([0.0] * 8 + [4.0, 6.0])
    scale = robust_scale(values)
    assert (scale.center, scale.factor) == (0.0, 2 / 6)
    assert robust_scale(np.full(3, 7.0)).factor == 0
    assert robust_scale(np.array([np.nan])).factor == 0
    # A standard deviation instead of the range would be another number.
    assert scale.factor != pytest.approx(1 / values.std())


def test_smooth_clip():
    x = np.linspace(-50, 50, 101)
    np.testing.assert_allclose(smooth_clip(x), x / np.sqrt(1 + (x / 3) ** 2), rtol=1e-14)
    assert np.abs(smooth_clip(np.array([1e308, -1e200, np.inf]))).tolist() == [3.0, 3.0, 3.0]
    assert smooth_clip(np.array([1e-9]))[0] == 1e-9
    # x / (1 + |x|/3), another clip with the same bound, is not this one.
    assert np.abs(smooth_clip(x) - x / (1 + np.abs(x) / 3)).max() > 0.3


def test_columns_that_cannot_be_scaled():
    with pytest.raises(DataError, match="cannot be scaled"):
        fitted(pandas.DataFrame({"x": [0.5, 1e308, -1e308, 3.0]}), scaling="standard")
    encoder = fitted(pandas.DataFrame({"x": [0.5, 1.5, 2.5]}), scaling="standard")
    with pytest.raises(DataError, match="too large for single precision"):
        encoder.transform(pandas.DataFrame({"x": [1e200]}))
    assert standard_scale(np.array([2.0, 2.0])).factor == 0
