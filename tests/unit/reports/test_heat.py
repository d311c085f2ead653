"""Heat maps as paths."""

import re

import pytest

from polytask.reports.heat import LEVELS, shades


def cells(found):
    """Every drawn cell with its shade, read back from the paths."""
    drawn = {}
    for shade in found:
        pieces = re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", shade.path)
        assert "".join(f"M{x} {y}h{w}v1h-{v}z" for x, y, w, v in pieces) == shade.path
        for x, y, width, back in pieces:
            assert width == back
            for column in range(int(x), int(x) + int(width)):
                assert (column, int(y)) not in drawn
                drawn[column, int(y)] = (shade.style, shade.opacity)
    return drawn


def test_every_cell_is_drawn_once_in_its_shade():
    values = [[0.0, 0.01, 0.5, 0.5, 2.0], [-0.3, None, None, -1.0, 0.0]]
    drawn = cells(shades(values, full=1.0))
    assert drawn == {
        (1, 0): ("cold", 1 / LEVELS),
        (2, 0): ("cold", 0.5),
        (3, 0): ("cold", 0.5),
        (4, 0): ("cold", 1.0),
        (0, 1): ("warm", pytest.approx(3 / LEVELS)),
        (1, 1): ("none", 1.0),
        (2, 1): ("none", 1.0),
        (3, 1): ("warm", 1.0),
    }


def test_darker_is_larger():
    drawn = cells(shades([[x / 100 for x in range(1, 101)]], full=1.0))
    levels = [drawn[column, 0][1] for column in range(100)]
    assert levels == sorted(levels)
    assert len(set(levels)) == LEVELS
