from decimal import Decimal

import numpy as np
import pytest

from polytask.errors import InvalidArgument
from polytask.tasks.values import is_number, missing_cells, read_numbers, weights_of_labels


def test_every_kind_of_gap():
    import pandas

    cells = np.array([None, np.nan, pandas.NA, pandas.NaT, 0, ""], dtype=object)
    assert missing_cells(cells).tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    "cells",
    [
        np.array([1, 0]),
        np.array([True, False]),
        np.array(["1", "0"]),
        np.array([Decimal(1), Decimal(0)], dtype=object),
        np.array([np.int64(1), np.float32(0)], dtype=object),
    ],
)
def test_numbers_in_every_storage(cells):
    numbers = read_numbers("t", "regression", cells)
    assert numbers.dtype == np.float64
    assert numbers.tolist() == [1.0, 0.0]


def test_two_axes_are_refused():
    with pytest.raises(InvalidArgument, match="values of target 't'` must have one axis"):
        read_numbers("t", "regression", np.zeros((2, 1)))


def test_weights_are_zero_where_the_label_is_missing():
    labelled = np.array([True, False, True])
    assert weights_of_labels("t", labelled, None).tolist() == [1, 0, 1]
    assert weights_of_labels("t", labelled, np.array([2, np.nan, 0.5])).tolist() == [2, 0, 0.5]


def test_is_number():
    assert [is_number(cell) for cell in ("1e3", 2, "x", object())] == [True, True, False, False]
