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


def test_a_report_of_the_first_version_still_loads(make_report):
    report = make_report(full=False)
    document = report.to_json()
    first = {
        "schema_version", "title", "created", "headline", "tasks", "columns", "findings",
        "history", "split", "settings", "switched_on", "environment", "judged_on", "together",
    }  # fmt: skip
    old = {key: value for key, value in document.items() if key in first} | {"schema_version": 1}
    again = report_from_text(json.dumps(old))
    assert replace(again, schema_version=2) == report_from_text(json.dumps(document))
    assert again.verdicts == again.gaps == ()
    assert again.regret is again.data_card is None


def test_every_new_part_comes_back_as_what_it_was(make_report, measured):
    report = measured(make_report())
    again = report_from_text(report_to_text(report))
    for part in (
        "verdicts",
        "advice",
        "permutation",
        "data_card",
        "gaps",
        "regret",
        "structure",
        "trunk_gradients",
        "interplay",
        "history",
        "calibration",
        "residuals",
        "uncertainty",
        "tasks",
    ):
        assert getattr(again, part) == getattr(report, part), part


def test_a_part_of_another_form_is_refused(make_report):
    document = make_report().to_json()
    for broken in ({"regret": 3}, {"gaps": [{"nam": "x"}]}, {"structure": {"layers": 1}}):
        with pytest.raises(CorruptFile, match="incomplete or was edited"):
            report_from_text(json.dumps({**document, **broken}))
