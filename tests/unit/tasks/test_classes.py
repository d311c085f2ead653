import numpy as np
import pytest

from polytask.errors import PolytaskWarning
from polytask.tasks.classes import (
    balanced_weights,
    best_probabilities,
    class_counts,
    encode_classes,
    label_array,
    read_labels,
)


def test_labels_of_equal_value_are_one_class():
    codes, labels = read_labels("t", np.array([1.0, 1, True, np.int64(1), None, 2], dtype=object))
    assert codes.tolist() == [0, 0, 0, 0, -1, 1]
    assert labels == [1, 2]
    assert type(labels[0]) is int


def test_numpy_scalars_become_json_values():
    _, labels = read_labels("t", np.array([np.int64(3), np.float64(0.5), np.str_("a")], object))
    assert [type(label) for label in labels] == [int, float, str]


def test_a_million_labels_are_read_quickly():
    import time

    cells = np.random.default_rng(0).integers(0, 5, 1_000_000).astype(float)
    start = time.perf_counter()
    codes, labels = read_labels("t", cells)
    assert time.perf_counter() - start < 2  # 20 ms; a loop over cells needs seconds
    assert sorted(labels) == [0, 1, 2, 3, 4]
    assert len(codes) == 1_000_000


def test_counts_ignore_gaps():
    codes, weights = np.array([0, 1, -1, 1]), np.array([1.0, 2.0, 0.0, 0.5])
    assert class_counts(codes, weights, 3) == (1.0, 2.5, 0.0)


def test_balanced_weights_average_to_one():
    counts = np.array([5.0, 0.5, 3.25])
    weights = np.array(balanced_weights(counts.tolist()))
    assert counts @ weights / counts.sum() == pytest.approx(1, rel=1e-12)
    assert np.ptp(counts * weights) == pytest.approx(0, abs=1e-12)


def test_an_absent_class_keeps_a_finite_logit():
    probabilities = best_probabilities([4.0, 0.0], None, 0.0)
    assert probabilities[1] == pytest.approx(1e-6, rel=1e-5)
    assert probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [((1, 2), "int64"), ((True, False), "bool"), ((0.5, 1.5), "float64"), (("a", 1), "object")],
)
def test_label_array_keeps_types(classes, dtype):
    array = label_array(classes)
    assert array.dtype == dtype
    assert tuple(array.tolist()) == classes


@pytest.mark.parametrize(
    ("classes", "cells"),
    [
        ((1, 2), ["1", "2.0", "1"]),
        (("1", "2", "A"), [1.0, 2.0, 1.0]),
        ((False, True), ["False", "true", "FALSE"]),
        (("false", "true"), [False, True, False]),
    ],
)
def test_a_label_is_known_by_how_it_is_written(classes, cells):
    # a column without its one word, or with a stray one, is stored in another type
    codes = encode_classes("t", np.array(cells, dtype=object), classes)
    assert codes.tolist() == [0, 1, 0]


def test_what_is_written_otherwise_stays_unknown():
    with pytest.warns(PolytaskWarning, match="class '01' does not occur"):
        codes = encode_classes("t", np.array(["01", "1"], dtype=object), (1, 2))
    assert codes.tolist() == [-1, 0]
    with pytest.warns(PolytaskWarning, match="class 'a' does not occur"):
        assert encode_classes("t", np.array(["a"], dtype=object), ("A", "b")).tolist() == [-1]
