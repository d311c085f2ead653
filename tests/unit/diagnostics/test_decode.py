"""From JSON back to dataclasses."""

from dataclasses import asdict, dataclass

import pytest

from polytask.diagnostics.decode import decode


@dataclass(frozen=True)
class Inner:
    x: float
    pair: tuple[int, str] = (0, "")


@dataclass(frozen=True)
class Outer:
    one: Inner | None
    many: tuple[Inner, ...] = ()
    rows: tuple[tuple[float | None, ...], ...] = ()
    table: dict[str, int] | None = None


def test_there_and_back():
    value = Outer(Inner(1.0, (2, "b")), (Inner(3.0),), ((1.0, None), ()), {"a": 1})
    assert decode(Outer, asdict(value)) == value


def test_what_is_missing_gets_its_default():
    assert decode(Outer, {"one": None}) == Outer(None)


@pytest.mark.parametrize(
    "document",
    [{}, {"one": 3}, {"one": None, "more": 1}, {"one": None, "many": 3}, {"one": {"y": 1}}],
)
def test_what_does_not_fit_is_refused(document):
    with pytest.raises(TypeError):
        decode(Outer, document)


def test_pairs_have_two_parts():
    with pytest.raises(ValueError, match="shorter"):
        decode(Outer, {"one": {"x": 1.0, "pair": [1]}})
