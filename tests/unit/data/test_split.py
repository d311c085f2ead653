"""Splits: what each promises holds, and too little data gets a sentence."""

import numpy as np
import pandas
import pytest

from polytask.data import LongForm, WideForm, split_table
from polytask.errors import DataError, InvalidArgument, PolytaskError
from polytask.tasks import Binary, Multiclass, Regression

N = 200
GENERATOR = np.random.default_rng(0)
TABLE = pandas.DataFrame(
    {
        "y": GENERATOR.normal(size=N),
        "c": GENERATOR.choice(list("abc"), N, p=[0.9, 0.07, 0.03]),
        "g": GENERATOR.integers(0, 30, N),
        "when": pandas.date_range("2020-01-01", periods=N // 2).repeat(2),
    }
)
FORM = WideForm((Regression("y"), Multiclass("c")))


def parts(split):
    return [split.train, split.valid, split.test]


@pytest.mark.parametrize(
    "options",
    [{}, {"test": 0.1}, {"stratify": False}, {"group": "g", "test": 0.2}, {"time": "when"},
     {"valid": 0.0, "test": 0.25}, {"valid": 0.0}],
)  # fmt: skip
def test_every_row_is_in_one_part(options):
    split = split_table(TABLE, FORM, **options)
    assert sorted(np.concatenate(parts(split)).tolist()) == list(range(N))
    for rows, share in (
        (split.valid, options.get("valid", 0.2)),
        (split.test, options.get("test", 0)),
    ):
        assert abs(len(rows) - share * N) <= (15 if "group" in options else 1)
        assert (np.diff(rows) > 0).all()


def test_seeds_decide():
    first, again = split_table(TABLE, FORM, seed=1), split_table(TABLE, FORM, seed=1)
    assert first.valid.tolist() == again.valid.tolist()
    assert first.valid.tolist() != split_table(TABLE, FORM, seed=2).valid.tolist()


def test_classes_and_bins_are_spread_in_proportion():
    split = split_table(TABLE, FORM, valid=0.25)
    shares = [TABLE["c"].iloc[rows].value_counts(normalize=True) for rows in parts(split)[:2]]
    assert (shares[0] - shares[1]).abs().max() <= 1 / 50 + 1e-9  # one row of the smaller side
    quartiles = TABLE["y"].quantile([0.25, 0.5, 0.75])
    for quartile in quartiles:
        below = [(TABLE["y"].iloc[rows] < quartile).mean() for rows in parts(split)[:2]]
        assert abs(below[0] - below[1]) < 0.05


def test_no_group_on_two_sides():
    split = split_table(TABLE, FORM, group="g", test=0.2)
    groups = [set(TABLE["g"].iloc[rows]) for rows in parts(split)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert all(groups)
    assert "'g'" in split.promise


def test_one_huge_group_leaves_no_side_empty():
    frame = pandas.DataFrame({"y": np.arange(50.0), "g": ["big"] * 48 + ["a", "b"]})
    split = split_table(frame, WideForm((Regression("y"),)), group="g", test=0.3)
    assert all(len(rows) for rows in parts(split))


def test_rows_without_a_group_stand_alone():
    frame = TABLE.assign(g=TABLE["g"].astype(object).where(TABLE["g"] > 5, None))
    split = split_table(frame, FORM, group="g")
    assert "without a value" in split.promise
    missing = frame["g"].isna()
    assert missing.iloc[split.train].any()
    assert missing.iloc[split.valid].any()


def test_validation_is_later_and_ties_stay_together():
    for column in ("when", "text", "number"):
        frame = TABLE.sample(frac=1, random_state=0).assign(
            text=lambda f: f["when"].dt.strftime("%d.%m.%Y"),
            number=lambda f: (f["when"] - f["when"].min()).dt.days.astype(str),
        )
        split = split_table(frame, FORM, time=column, valid=0.21, test=0.2)
        times = [frame["when"].iloc[rows] for rows in parts(split)]
        assert times[0].max() < times[1].min()
        assert times[1].max() < times[2].min()


def test_a_given_column():
    words = GENERATOR.choice(["train", "Valid", "test"], N)
    split = split_table(TABLE.assign(s=words), FORM, column="s")
    assert set(words[split.valid]) == {"Valid"}
    assert set(words[split.test]) == {"test"}
    words = np.where(words == "Valid", "train", words)
    split = split_table(TABLE.assign(s=words), FORM, column="s", valid=0.2)
    assert set(words[split.valid]) == {"train"}
    assert len(split.valid) == round(0.2 * (words == "train").sum())
    assert set(words[split.test]) == {"test"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "holdout"], "'holdout'"),
        (["train", None], "100 empty cells"),
        (["valid", "test"], "no row that says 'train'"),
    ],
)
def test_a_given_column_that_says_something_else(words, message):
    with pytest.raises(DataError, match=message):
        split_table(TABLE.assign(s=words * (N // 2)), FORM, column="s")


def test_every_task_of_a_long_table_is_on_both_sides():
    sizes = [2, 2, 2, 3, 5, 50]
    frame = pandas.DataFrame(
        {"task": np.repeat(np.arange(6), sizes), "y": GENERATOR.normal(size=sum(sizes))}
    )
    form = LongForm.create(frame, "task", Regression("y"))
    for seed in range(100):
        split = split_table(frame, form, seed=seed)
        for rows in (split.train, split.valid):
            assert set(frame["task"].iloc[rows]) == set(range(6))


def test_a_task_needs_labels_on_both_sides_not_only_rows():
    frame = TABLE.assign(y=TABLE["y"].where(TABLE.index.isin([3, 77])))
    for seed in range(30):
        split = split_table(frame, FORM, seed=seed)
        assert frame["y"].iloc[split.train].notna().sum() == 1
        assert frame["y"].iloc[split.valid].notna().sum() == 1
    random = [split_table(frame, FORM, seed=s, stratify=False) for s in range(30)]
    assert not all(frame["y"].iloc[s.valid].notna().sum() == 1 for s in random)  # no such luck


def test_a_promise_that_cannot_be_kept_is_not_made():
    # Three classes of two rows each, pairwise sharing a row: no two sides have all of them.
    frame = pandas.DataFrame({"a": ["x", "x", "o"], "b": ["o", "x", "x"], "c": ["x", "o", "x"]})
    specs = tuple(Binary(name) for name in "abc")
    assert "not on every side" in split_table(frame, WideForm(specs), valid=0.34).promise
    assert "not on every side" not in split_table(TABLE, FORM).promise


def test_too_few_rows():
    for rows in (1, 2):
        with pytest.raises(DataError, match=f"has {rows} row.*too few"):
            split_table(TABLE.iloc[:rows], FORM)
    with pytest.raises(DataError, match="at least 4"):
        split_table(TABLE.iloc[:3], FORM, test=0.1)
    split = split_table(TABLE.iloc[:4], FORM, test=0.1)
    assert [len(rows) for rows in parts(split)] == [2, 1, 1]
    with pytest.raises(DataError, match="has 1 group"):
        split_table(TABLE.assign(g=1), FORM, group="g")
    with pytest.raises(DataError, match="has 1 distinct value;"):
        split_table(TABLE.assign(when=1), FORM, time="when")


def test_bad_options():
    with pytest.raises(InvalidArgument, match=r"less than 1; got 0.5 and 0.5"):
        split_table(TABLE, FORM, valid=0.5, test=0.5)
    with pytest.raises(InvalidArgument, match=r"split.valid"):
        split_table(TABLE, FORM, valid=1.5)
    with pytest.raises(InvalidArgument, match=r"`data.group` and `data.time`"):
        split_table(TABLE, FORM, group="g", time="when")
    with pytest.raises(PolytaskError, match="'when'"):
        split_table(TABLE, FORM, time="wen")
    with pytest.raises(DataError, match="'c' must hold numbers or dates"):
        split_table(TABLE, FORM, time="c")
    with pytest.raises(DataError, match="no value in 1 rows"):
        split_table(TABLE.assign(when=TABLE["when"].where(TABLE.index != 3)), FORM, time="when")
