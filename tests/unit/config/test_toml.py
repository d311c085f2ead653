"""What is written as TOML reads back the same, whatever it is."""

import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytask.config.toml import read_toml, to_toml
from polytask.errors import FileProblem, InvalidArgument

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, max_size=5)


@given(DOCUMENTS)
def test_round_trip(document):
    again = tomllib.loads(to_toml(document))
    assert again == document
    assert _types(again) == _types(document)


def _types(value):
    """Types too: 1 == 1.0 == True in Python, and not in a run file."""
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_types(item) for item in value]
    return type(value), math.copysign(1, value) if isinstance(value, float) else None


def test_nan_survives():
    assert math.isnan(tomllib.loads(to_toml({"x": math.nan}))["x"])


def test_none_is_left_out_also_inside_inline_tables():
    assert tomllib.loads(to_toml({"a": None, "b": [1, {"c": None, "d": 2}]})) == {
        "b": [1, {"d": 2}]
    }


def test_plain_values_of_a_table_come_before_nested_tables():
    # Written in the order of the mapping, seed would belong to [model].
    assert tomllib.loads(to_toml({"model": {"width": 1}, "seed": 2}))["seed"] == 2


def test_long_lists_take_a_line_per_entry():
    text = to_toml({"ignore": [f"column number {i}" for i in range(20)]})
    assert max(map(len, text.splitlines())) < 40
    assert len(tomllib.loads(text)["ignore"]) == 20


@pytest.mark.parametrize("value", [object(), b"bytes", "\ud800"])
def test_what_toml_cannot_hold_is_refused(value):
    with pytest.raises(InvalidArgument, match="to be written as TOML"):
        to_toml({"x": value})


def test_reading_names_file_line_and_column(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("seed = 1\n[model\n")
    with pytest.raises(InvalidArgument, match=r"run\.toml` is not valid TOML: .*line 2"):
        read_toml(path)


def test_reading_says_what_is_wrong_with_the_file(tmp_path):
    with pytest.raises(FileProblem, match=r"`.*no\.toml` cannot be read: no such file"):
        read_toml(tmp_path / "no.toml")
    with pytest.raises(FileProblem, match="is a directory"):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes("name = 'Gr\xf6\xdfe'".encode("latin-1"))
    with pytest.raises(FileProblem, match=r"not UTF-8 text \(byte 10\)"):
        read_toml(tmp_path / "latin.toml")


def test_a_byte_order_mark_is_no_key(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert read_toml(path) == {"seed": 3}
