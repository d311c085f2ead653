"""Splitting laws on tables that nobody chose."""

import itertools

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polytask.data import WideForm, split_table
from polytask.data.labels import label_table
from polytask.data.stratify import NO_LABEL, LabelTable, missing_labels, stratify
from polytask.tasks import Multiclass, Multilabel, Regression

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def mixed_table(seed):
    """Several targets with gaps and classes down to two rows."""
    generator = np.random.default_rng(seed)
    rows = int(generator.integers(60, 300))
    shares = 1.6 ** -np.arange(12.0)
    frame = pandas.DataFrame({"y": generator.normal(size=rows)})
    for name in "abcd":
        frame[name] = generator.choice(list("abcdefghijkl"), rows, p=shares / shares.sum())
        frame.loc[generator.random(rows) < 0.3, name] = None
    frame["r"] = (generator.random(rows) < 0.03).astype(int)
    frame["s"] = (generator.random(rows) < 0.5).astype(int)
    specs = (Regression("y"), *map(Multiclass, "abcd"), Multilabel("t", ("r", "s")))
    return frame, WideForm(specs)


@pytest.mark.parametrize("test", [0.0, 0.15])
def test_every_label_with_two_rows_is_on_both_sides_for_100_seeds(test):
    for seed in range(100):
        frame, form = mixed_table(seed)
        split = split_table(frame, form, test=test, seed=seed)
        assert "not on every side" not in split.promise
        for name in (*"abcd", "r", "s"):
            counts = frame[name].value_counts()
            for rows, least in ((split.train, 2), (split.valid, 2), (split.test, 3)):
                if len(rows):
                    wanted = set(counts[counts >= least].index)
                    assert wanted <= set(frame[name].iloc[rows]), (seed, name)
        assert abs(len(split.valid) - 0.2 * len(frame)) <= 1


def test_a_random_split_does_not_keep_that_promise():
    lost = 0
    for seed in range(20):
        frame, form = mixed_table(seed)
        split = split_table(frame, form, stratify=False, seed=seed)
        counts = frame["a"].value_counts()
        lost += not set(counts[counts >= 2].index) <= set(frame["a"].iloc[split.valid])
    assert lost > 10


@st.composite
def small_labels(draw):
    rows = draw(st.integers(3, 9))
    columns = draw(st.integers(1, 3))
    cells = draw(
        st.lists(
            st.lists(st.integers(-1, 2), min_size=columns, max_size=columns),
            min_size=rows,
            max_size=rows,
        )
    )
    codes = np.array(cells)
    codes = np.where(codes >= 0, codes + 3 * np.arange(columns), NO_LABEL)
    names = tuple(str(k) for k in range(3 * columns))
    return LabelTable(codes, names, np.ones(3 * columns, dtype=bool))


@QUICK
@given(small_labels(), st.integers(0, 99))
def test_if_a_split_with_every_label_exists_one_is_found(labels, seed):
    sides = stratify(labels, [0.7, 0.3], np.random.default_rng(seed))
    if missing_labels(labels, sides, 2):
        choices = itertools.product([0, 1], repeat=len(sides))
        assert all(missing_labels(labels, np.array(choice), 2) for choice in choices)


@QUICK
@given(st.integers(5, 60), st.integers(0, 1000), st.floats(0.05, 0.5), st.sampled_from([0.0, 0.2]))
def test_parts_are_disjoint_complete_and_never_empty(rows, seed, valid, test):
    generator = np.random.default_rng(seed)
    frame = pandas.DataFrame(
        {"y": generator.normal(size=rows), "c": generator.choice(list("ab"), rows)}
    )
    form = WideForm((Regression("y"), Multiclass("c")))
    split = split_table(frame, form, valid=valid, test=test, seed=seed)
    together = np.concatenate([split.train, split.valid, split.test])
    assert sorted(together.tolist()) == list(range(rows))
    assert len(split.train) >= 1
    assert len(split.valid) >= 1
    assert bool(len(split.test)) == bool(test)


@QUICK
@given(st.integers(4, 40), st.integers(2, 12), st.integers(0, 1000))
def test_groups_and_times_are_never_cut(rows, values, seed):
    generator = np.random.default_rng(seed)
    frame = pandas.DataFrame(
        {"y": generator.normal(size=rows), "g": generator.integers(0, values, rows)}
    )
    if frame["g"].nunique() < 2:
        return
    form = WideForm((Regression("y"),))
    split = split_table(frame, form, group="g", seed=seed)
    assert not set(frame["g"].iloc[split.train]) & set(frame["g"].iloc[split.valid])
    assert len(split.train)
    assert len(split.valid)
    split = split_table(frame, form, time="g", seed=seed)
    assert frame["g"].iloc[split.train].max() < frame["g"].iloc[split.valid].min()


def test_label_tables_count_what_is_there():
    frame, form = mixed_table(0)
    labels = label_table(frame, form)
    counts = dict(zip(labels.names, labels.counts.tolist(), strict=True))
    for name in "abcd":
        for value, count in frame[name].value_counts().items():
            assert counts[f"{name} = {value}"] == count
