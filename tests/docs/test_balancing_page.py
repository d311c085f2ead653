"""The page on balancing says what the classes declare.

Run as a program, this file writes the tables anew.
"""

import re
from pathlib import Path

import pytest

from polytask import aggregation
from polytask.config import balance_facts
from polytask.config.balance_facts import balance_classes, balance_table, promises_table

PAGE = Path(__file__).parents[2] / "docs" / "balancing.md"
TABLES = {"methods": balance_table, "promises": promises_table}


def filled(text: str) -> str:
    """The page with its tables made anew."""
    for name, made in TABLES.items():
        marks = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        assert re.search(marks, text, re.S), f"{PAGE.name} has no table {name!r}"
        new = made().replace("\\", r"\\")
        text = re.sub(marks, rf"\g<1>{new}\g<2>", text, flags=re.S)
    return text


def test_tables_are_those_of_the_classes():
    text = PAGE.read_text(encoding="utf-8")
    assert text == filled(text), f"run: python {Path(__file__).name}"


def test_a_fact_that_changed_is_noticed(monkeypatch: pytest.MonkeyPatch):
    text = PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(aggregation.UPGrad, "scale", "sum")
    assert text != filled(text)


def test_no_method_is_left_out():
    """By another way than the table's own: every exported class is in the text of the page."""
    text = PAGE.read_text(encoding="utf-8")
    names = {cls.__name__ for cls in balance_classes()}
    assert len(names) > 25
    wrappers = {"ClipTaskGradients", "EqualizeNorms", "EveryN", "MovingAverageWeights"}
    missing = [name for name in names | wrappers if f"`{name}`" not in text]
    assert not missing


def test_a_new_argument_without_default_is_noticed():
    class Odd(aggregation.Mean):  # type: ignore[misc]
        def __init__(self, strength: float) -> None:
            super().__init__()

    with pytest.raises(ValueError, match="strength"):
        balance_facts.with_defaults(Odd, 2)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
