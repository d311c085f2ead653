import json
from dataclasses import replace

import pytest

from polytask.errors import CorruptFile, FileProblem
from polytask.reports import read_json, render_html, report_from_text, report_to_text, write_json


def test_there_and_back_renders_the_same(make_report, tmp_path):
    report = make_report()
    write_json(report, tmp_path / "report.json")
    again = read_json(tmp_path / "report.json")
    assert again.to_json() == report.to_json()
    assert render_html(again) == render_html(report)


def test_text_is_valid_json(make_report):
    report = replace(make_report(), environment={"seconds": float("nan")})

    def forbidden(constant):
        raise AssertionError(constant)

    document = json.loads(report_to_text(report), parse_constant=forbidden)
    assert document["environment"] == {"seconds": None}
    assert document["schema_version"] == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"schema_version": 1}', "{}"])
def test_other_texts_are_refused_in_one_sentence(text):
    with pytest.raises(CorruptFile) as caught:
        report_from_text(text)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(FileProblem, match="Cannot read"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorruptFile):
        read_json(tmp_path / "bytes.json")
