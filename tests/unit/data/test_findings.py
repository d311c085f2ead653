"""Findings: what is found, in which words, and where there must be no alarm."""

import numpy as np
import pandas
import pytest
from sklearn import datasets

from polytask.data import LongForm, WideForm, find_problems, fit_tasks, infer_schema, split_table
from polytask.tasks import Binary, Multiclass, Multilabel, Regression


def problems(frame, form, **options):
    split = split_table(frame, form, **options)
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    frames = {name: frame.iloc[rows] for name, rows in parts.items() if len(rows)}
    schema = infer_schema(frame)
    form, tasks = fit_tasks(form, frames["train"])
    own = {*form.target_columns, *([form.task_column] if isinstance(form, LongForm) else [])}
    inputs = [column.name for column in schema.columns if column.used and column.name not in own]
    return find_problems(
        frames, schema=schema, form=form, tasks=tasks, inputs=inputs, method=split.method
    )


def leaks(frame, form):
    return [f for f in problems(frame, form) if f.code.startswith("leak")]


def noise(rows, columns, seed):
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    return pandas.DataFrame(values, columns=[f"x{k}" for k in range(columns)])


def bikes(seed=0, rows=600):
    generator = np.random.default_rng(seed)
    frame = noise(rows, 48, seed)
    frame["casual"] = generator.poisson(20, rows)
    frame["registered"] = generator.poisson(100, rows)
    frame["count"] = frame["casual"] + frame["registered"]
    return frame


def test_casual_and_registered_are_count():
    form = WideForm((Regression("casual"), Regression("registered")))
    (leak,) = leaks(bikes(), form)
    assert leak.severity == "danger"
    assert leak.columns == ("count", "casual", "registered")
    assert "'count' = 'casual' + 'registered'" in leak.sentence
    assert leak.advice.endswith("--ignore count")


def test_count_is_casual_and_registered():
    (leak,) = leaks(bikes(), WideForm((Regression("count"),)))
    assert "'count' = 'casual' + 'registered'" in leak.sentence
    assert "--ignore casual --ignore registered" in leak.advice


def test_a_relation_with_texts_gaps_and_factors():
    frame = bikes()
    frame["share of it"] = 0.5 * frame["count"] - 3
    frame.loc[::7, "share of it"] = np.nan
    frame = frame.drop(columns=["count"]).astype(object).where(lambda f: f.notna(), "").astype(str)
    form = WideForm((Regression("casual"), Regression("registered")))
    (leak,) = leaks(frame, form)
    assert "'share of it' = 0.5 · 'casual' + 0.5 · 'registered' - 3" in leak.sentence
    assert leak.advice.endswith("--ignore 'share of it'")


@pytest.mark.parametrize("rows", [150, 600])
def test_a_copy_hidden_in_a_wide_table(rows):
    frame = noise(rows, 300, 1)
    frame["y"] = np.random.default_rng(2).normal(size=rows)
    frame["x77"] = 1e6 * frame["y"] + 5
    (leak,) = leaks(frame, WideForm((Regression("y"),)))
    assert leak.columns == ("x77", "y")


def test_every_copy_is_named():
    frame = bikes()
    frame["again"] = -2 * frame["count"]
    frame["twice"] = frame["casual"]
    form = WideForm((Regression("casual"), Regression("registered")))
    assert {leak.columns[0] for leak in leaks(frame, form)} == {"count", "again", "twice"}


def test_a_rounded_sum_is_found_and_a_noisy_one_is_not():
    frame = noise(400, 5, 0).round(2)
    frame["y"] = (1.5 * frame["x0"] - frame["x1"]).round(1)
    assert leaks(frame, WideForm((Regression("y"),)))
    frame["y"] += np.random.default_rng(0).normal(size=400) * 0.1
    assert not leaks(frame, WideForm((Regression("y"),)))


@pytest.mark.parametrize("levels", [6, 60])
def test_a_category_that_determines_a_class(levels):
    generator = np.random.default_rng(0)
    code = generator.integers(0, levels, 2000)
    frame = pandas.DataFrame({"x": generator.normal(size=2000), "place": [f"p{k}" for k in code]})
    frame["y"] = np.where(code % 3 == 0, "north", np.where(code % 3 == 1, "south", "east"))
    (leak,) = leaks(frame, WideForm((Multiclass("y"),)))
    assert leak.columns == ("place", "y")
    assert "--ignore place" in leak.advice
    frame.loc[:40, "y"] = "west"
    assert not leaks(frame, WideForm((Multiclass("y"),)))


def test_a_missing_cell_that_gives_a_class_away():
    frame = noise(500, 4, 0)
    frame["y"] = (frame["x3"] > 0.3).astype(int)
    frame["x0"] = frame["x0"].where(frame["y"] == 0)
    (leak,) = leaks(frame.drop(columns="x3"), WideForm((Binary("y"),)))
    assert leak.columns == ("x0", "y")


def clean(seed):
    """A table without a leak; the kinds of table turn with the seed."""
    generator = np.random.default_rng(seed)
    rows, columns = [(120, 6), (300, 20), (60, 200), (1000, 50)][seed % 4]
    frame = noise(rows, columns, seed)
    signal = frame.to_numpy()[:, :4] @ generator.normal(size=4)
    frame["copy of x0"] = 2 * frame["x0"] + 1  # collinear, but no leak
    frame["sum of x"] = frame["x1"] + frame["x2"]
    frame["colour"] = generator.choice(["red", "green", "blue"], rows)
    frame["rare"] = (generator.random(rows) < 0.02).astype(int)
    frame["y"] = signal + generator.normal(size=rows)
    frame["z"] = np.where(signal + generator.normal(size=rows) > 0, "yes", "no")
    frame["c"] = pandas.cut(frame["y"], [-99, -1, 1, 99], labels=["low", "mid", "high"]).astype(str)
    frame["w"] = 3 * frame["y"] - 1  # two targets that determine each other are no leak
    frame.loc[generator.random(rows) < 0.2, "x3"] = np.nan
    frame.loc[generator.random(rows) < 0.3, "z"] = None
    return frame


@pytest.mark.parametrize("seed", range(20))
def test_no_alarm_on_clean_tables(seed):
    specs = (Regression("y"), Binary("z"), Multiclass("c"), Regression("w"))
    found = problems(clean(seed), WideForm(specs))
    assert not [f for f in found if f.severity == "danger"]
    assert not [f for f in found if f.code in ("duplicate-rows", "unread-column")]


@pytest.mark.parametrize(
    ("load", "spec"),
    [
        (datasets.load_diabetes, Regression("target")),
        (datasets.load_iris, Multiclass("target")),
        (datasets.load_wine, Multiclass("target")),
        (datasets.load_breast_cancer, Binary("target")),
        (datasets.load_digits, Multiclass("target")),
    ],
)
def test_no_alarm_on_the_tables_of_scikit_learn(load, spec):
    assert not leaks(load(as_frame=True).frame, WideForm((spec,)))


def test_copies_across_the_split():
    frame = noise(100, 3, 0)
    frame["y"] = np.random.default_rng(1).normal(size=100)
    frame = pandas.concat([frame, frame.iloc[:40], frame.iloc[:20].assign(y=0.0)])
    (found,) = (f for f in problems(frame, WideForm((Regression("y"),))) if "duplicate" in f.code)
    split = split_table(frame, WideForm((Regression("y"),)))
    rows = [
        frame[["x0", "x1", "x2"]].apply(tuple, axis=1).iloc[r] for r in (split.train, split.valid)
    ]
    same = rows[1].isin(set(rows[0])).sum()
    assert found.severity == "warning"
    assert f"{same} of {len(split.valid)} validation rows" in found.sentence


def test_few_distinct_rows_are_no_mistake():
    generator = np.random.default_rng(0)
    frame = pandas.DataFrame({"a": generator.integers(0, 3, 500), "y": generator.normal(size=500)})
    (found,) = problems(frame, WideForm((Regression("y"),)))
    assert (found.code, found.severity) == ("duplicate-rows", "info")


def test_small_classes_and_few_labels():
    frame = noise(400, 3, 0)
    frame["c"] = ["a"] * 380 + ["b"] * 15 + ["c"] * 5
    found = {f.code: f for f in problems(frame, WideForm((Multiclass("c"),)))}
    assert "'b' has 3; 'c': 'c' has 1" in found["small-class"].sentence
    few = problems(frame.iloc[250:], WideForm((Regression("x0"),)))
    assert not [f for f in few if f.code == "few-labels"]
    few = problems(frame.iloc[300:], WideForm((Regression("x0"),)))
    assert (
        "1 of 1 task has fewer than 30" in next(f for f in few if f.code == "few-labels").sentence
    )
    tags = frame.assign(red=[1, 0] * 200, blue=[1] + [0] * 398 + [1])
    (small,) = problems(tags.drop(columns="c"), WideForm((Multilabel("t", ("red", "blue")),)))
    assert "'blue': 1 has 1" in small.sentence


def test_identifiers_constants_and_names():
    frame = noise(200, 2, 0)
    frame["y"] = np.random.default_rng(1).normal(size=200)
    frame["row"] = range(200)
    frame["same"] = 1
    frame["fnlwgt"] = np.random.default_rng(2).integers(100, 999, 200)
    frame["occ_code"] = np.random.default_rng(3).integers(1, 9, 200)
    frame["patient_id"] = np.random.default_rng(4).integers(0, 50, 200)
    frame["weight"] = np.random.default_rng(5).normal(70, 9, 200)  # a body has one, too
    found = {f.code: f for f in problems(frame, WideForm((Regression("y"),)))}
    assert found["identifier-columns"].columns == ("row",)
    assert "data.kinds.row=numeric" in found["identifier-columns"].advice
    assert found["constant-columns"].columns == ("same",)
    assert "--weight fnlwgt" in found["weight-column"].advice
    assert "data.kinds.occ_code=category" in found["code-column"].advice
    assert "--group patient_id" in found["group-column"].advice
    assert set(found) == {
        "identifier-columns", "constant-columns", "weight-column", "code-column", "group-column",
    }  # fmt: skip


def test_dates_and_series_ask_for_a_split_by_time():
    frame = noise(300, 4, 0)
    frame["y"] = np.random.default_rng(1).normal(size=300)
    form = WideForm((Regression("y"),))
    assert not problems(frame, form)
    dated = frame.assign(day=pandas.date_range("2020-01-01", periods=300))
    assert "--time day" in problems(dated, form)[0].advice
    assert not problems(dated, form, time="day")
    walk = frame.cumsum().assign(y=frame["y"])
    assert problems(walk, form)[0].code == "ordered-rows"


def test_gravest_first():
    frame = bikes().assign(same=1)
    found = problems(frame, WideForm((Regression("count"),)))
    order = [{"danger": 0, "warning": 1, "info": 2}[f.severity] for f in found]
    assert order == sorted(order)
    assert len(set(order)) > 1


def test_long_tables():
    frame = noise(300, 3, 0).assign(task=np.arange(300) % 3)
    frame["y"] = 4 * frame["x1"] + 1
    form = LongForm.create(frame, "task", Regression("y"))
    assert leaks(frame, form)[0].columns == ("x1", "y")
    frame["y"] += np.random.default_rng(0).normal(size=300)
    codes = [f.code for f in problems(frame, LongForm.create(frame, "task", Regression("y")))]
    assert codes == ["few-labels"]


def test_a_computed_class_is_not_called_the_whole_target():
    generator = np.random.default_rng(0)
    frame = noise(600, 3, 0)
    frame["y"] = generator.choice(["a", "b", "c"], 600)
    frame["part"] = np.where(frame["y"] == "a", 3.0, 1.0) - frame["x0"]
    (leak,) = leaks(frame, WideForm((Multiclass("y"),)))
    assert "classes of the target 'y' can be computed" in leak.sentence
    frame["y"] = np.where(frame["y"] == "a", "a", "b")
    sentences = [leak.sentence for leak in leaks(frame, WideForm((Binary("y"),)))]
    assert sentences
    assert not any("classes of" in sentence for sentence in sentences)


def test_counts_and_number_agree():
    frame = noise(200, 2, 0)
    frame["y"] = np.random.default_rng(1).normal(size=200)
    frame["row"], frame["key"] = range(200), [f"k{i}" for i in range(200)]
    found = {f.code: f for f in problems(frame, WideForm((Regression("y"),)))}
    assert (
        "2 columns are taken for identifiers and not used" in found["identifier-columns"].sentence
    )
    assert found["identifier-columns"].advice.startswith("If one of them does hold")
