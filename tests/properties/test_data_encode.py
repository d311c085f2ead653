"""Encoding laws: finite, row by row, exact after a round trip, whatever the table holds."""

import json

import numpy as np
import pandas
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polytask.data import FeatureEncoder, infer_schema
from polytask.data.parse import read_levels, read_numbers
from polytask.errors import DataError

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Numbers as small as 1e-281 cannot be scaled to numbers near 1 and are refused.
FLOATS = st.floats(-1e6, 1e6).map(lambda number: round(number, 30))
CELLS = st.one_of(st.none(), FLOATS, st.integers(-5, 5), st.just(1e15))
WORDS = st.one_of(st.none(), st.sampled_from(["", "NA", "?", "x", "yes", "3", "3.0", "ü"]))


@st.composite
def tables(draw):
    rows = draw(st.integers(2, 12))
    frame = pandas.DataFrame(index=range(rows))
    for place in range(draw(st.integers(1, 4))):
        cells = draw(st.sampled_from([CELLS, WORDS]))
        values = draw(st.lists(cells, min_size=rows, max_size=rows))
        frame[f"c{place}"] = pandas.Series(values, dtype=object)
    return frame


@QUICK
@given(tables(), st.sampled_from(["robust", "standard", "none"]), st.sampled_from([0, 2, 9]))
def test_encoding_is_finite_rowwise_and_survives_a_round_trip(frame, scaling, one_hot_up_to):
    schema = infer_schema(frame)
    try:
        encoder = FeatureEncoder.fit(
            frame, schema.columns, scaling=scaling, one_hot_up_to=one_hot_up_to
        )
    except DataError:
        # Only for want of an input: every column is constant or names its rows.
        assert all(column.unique <= 1 or not column.used for column in schema.columns)
        return
    inputs = encoder.transform(frame)
    tensors, document = encoder.state()
    again = FeatureEncoder.from_state(tensors, json.loads(json.dumps(document)))
    assert again == encoder
    for name, tensor in inputs.items():
        assert torch.equal(tensor, again.transform(frame)[name])
        assert torch.equal(tensor[[0]], encoder.transform(frame.iloc[[0]])[name])
    if "numeric" in inputs:
        assert inputs["numeric"].isfinite().all()
        assert (inputs["numeric"].std(0, correction=0) > 0).any()
    if "categories" in inputs:
        assert (inputs["categories"].amax(0) < torch.tensor(encoder.cardinalities)).all()


@QUICK
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_survive_text(values):
    texts = pandas.Series([repr(value) for value in values])
    found, strangers = read_numbers(texts)
    assert not strangers.any()
    np.testing.assert_array_equal(found, values)


@QUICK
@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=20))
def test_whole_numbers_are_the_same_level_in_every_storage(values):
    storages = [
        pandas.Series(values, dtype="int64"),
        pandas.Series(values, dtype="float64"),
        pandas.Series([str(value) for value in values]),
        pandas.Series([f"{value}.0" for value in values]),
        pandas.Series(values, dtype="category"),
    ]
    expected = [str(value) for value in values]
    for column in storages:
        codes, levels = read_levels(column)
        assert [levels[code] for code in codes] == expected
