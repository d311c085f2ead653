"""Files in, and one sentence for each kind of bad file."""

import gzip

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from polytask.data import as_frame, read_table
from polytask.errors import DataError, FileProblem, InvalidArgument

ROWS = "age,city\n31,Ulm\n,NA\n"


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", ROWS.encode()),
        ("t.CSV", ROWS.encode()),
        ("t.csv.gz", gzip.compress(ROWS.encode(), mtime=0)),
        ("t.tsv", ROWS.replace(",", "\t").encode()),
        ("t.tsv.gz", gzip.compress(ROWS.replace(",", "\t").encode(), mtime=0)),
        ("windows.csv", b"\xef\xbb\xbf" + ROWS.replace("\n", "\r\n").encode()),
        ("utf16.csv", ROWS.encode("utf-16")),
        ("blank.csv", ("\n\n" + ROWS + "\n").encode()),
    ],
)
def test_text_files_keep_text_and_gaps(tmp_path, name, content):
    frame = read_table(written(tmp_path, name, content))
    assert frame["age"].iloc[0] == "31"
    assert frame["age"].isna().tolist() == [False, True]
    assert frame["city"].tolist() == ["Ulm", "NA"]


def test_quoted_cells_may_hold_separators_and_line_breaks(tmp_path):
    frame = read_table(written(tmp_path, "t.csv", 'a,b\n"x,\ny",1\n"say ""hi""",2\n'))
    assert frame["a"].tolist() == ["x,\ny", 'say "hi"']


def test_leading_zeros_survive(tmp_path):
    assert read_table(written(tmp_path, "t.csv", "zip,b\n00123,1\n")).iloc[0, 0] == "00123"


def test_parquet_keeps_its_types(tmp_path):
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["a"].dtype == "int64"


def test_separator_and_encoding_can_be_given(tmp_path):
    path = written(tmp_path, "t.csv", "a;b\nü;1\n".encode("latin-1"))
    assert read_table(path, separator=";", encoding="latin-1")["a"].tolist() == ["ü"]
    tabs = written(tmp_path, "tabs.csv", "a\tb\n1\t2\n")
    assert read_table(tabs, separator="\\t").shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", ["empty.csv is empty"]),
        ("blank.csv", b" \n\n", ["blank.csv is empty"]),
        ("header.csv", b"a,b\n", ["header of 2 columns but no rows"]),
        ("short.csv", b"a,b\n1,2\n3\n", ["short.csv, line 3", "1 cells, the header has 2"]),
        ("long.csv", b'a,b\n"x\ny",2\n1,2,3\n', ["long.csv, line 4", "3 cells"]),
        ("shifted.csv", b"\n\na,b\n1\n", ["shifted.csv, line 4"]),
        ("quote.csv", b'a,b\n"1,2\n3,4\n', ["quote.csv, line 2", "quote"]),
        ("semicolon.csv", b"a;b\n1;2\n", ["';'", "--set data.separator="]),
        ("tab.csv", b"a\tb\n1\t2\n", ["--set data.separator='\\t'"]),
        ("latin.csv", "a,b\n1,ü\n".encode("latin-1"), ["utf-8", "line 2", "--set data.encoding="]),
        ("zero.csv", b"a,b\n1,\x002\n", ["zero bytes", "utf-16"]),
        ("twice.csv", b"a,b,a\n1,2,3\n", ["duplicate column names: 'a'"]),
        ("no.csv.gz", b"abc", ["no.csv.gz", "gzip"]),
        ("cut.csv.gz", gzip.compress(ROWS.encode(), mtime=0)[:-6], ["cut.csv.gz", "gzip"]),
        ("no.parquet", b"abc", ["not a Parquet file"]),
        ("zero.parquet", b"", ["zero.parquet is empty"]),
    ],
)
def test_a_bad_file_gets_one_sentence(tmp_path, name, content, words):
    with pytest.raises(DataError) as error:
        read_table(written(tmp_path, name, content))
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_no_such_file_names_the_nearest(tmp_path):
    written(tmp_path, "patients.csv", ROWS)
    with pytest.raises(FileProblem, match=r"patients\.csv\?"):
        read_table(tmp_path / "patient.csv")
    with pytest.raises(FileProblem, match="folder"):
        read_table(tmp_path)


def test_other_suffixes_and_options_are_refused(tmp_path):
    with pytest.raises(FileProblem, match="Supported"):
        read_table(written(tmp_path, "t.xlsx", b"x"))
    path = written(tmp_path, "t.csv", ROWS)
    with pytest.raises(InvalidArgument, match="encoding"):
        read_table(path, encoding="klingon")
    with pytest.raises(InvalidArgument, match="separator"):
        read_table(path, separator=";;")


def test_frames_arrive_unchanged():
    frame = pandas.DataFrame({1: [1], "b": [2]})
    assert list(as_frame(frame).columns) == ["1", "b"]
    assert list(frame.columns) == [1, "b"]
    assert as_frame(pyarrow.table({"a": [1, 2]}))["a"].tolist() == [1, 2]


def test_bad_frames():
    with pytest.raises(DataError, match="duplicate"):
        as_frame(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(DataError, match="duplicate"):
        as_frame(pyarrow.Table.from_arrays([pyarrow.array([1])] * 2, names=["a", "a"]))
    with pytest.raises(DataError, match="duplicate"):
        as_frame(pandas.DataFrame([[1, 2]], columns=[1, "1"]))
    with pytest.raises(DataError, match="levels"):
        as_frame(pandas.DataFrame([[1]], columns=pandas.MultiIndex.from_tuples([("a", "b")])))
    with pytest.raises(InvalidArgument, match="got list"):
        as_frame([[1, 2]])
    with pytest.raises(DataError, match="no columns"):
        as_frame(pandas.DataFrame(index=[0, 1]))
