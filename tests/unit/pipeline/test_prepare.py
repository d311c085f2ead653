"""From a table to encoded rows: rows from elsewhere."""

import numpy as np
import pandas
import pytest

from polytask.config.run import BalanceConfig, RunConfig
from polytask.errors import DataError
from polytask.pipeline import prepare
from polytask.pipeline.refit import on_all_rows


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    x = generator.normal(size=60)
    return pandas.DataFrame(
        {
            "x": x,
            "w": generator.random(60),
            "grade": np.where(x > 1, "A", np.where(x > 0, "2", "1")),
            "y": 2 * x + generator.normal(size=60),
        }
    )


RUN = RunConfig.model_validate(
    {"targets": [{"name": "grade"}, {"name": "y"}], "data": {"weight": "w"}}
)


@pytest.mark.parametrize("column", ["x", "w", "grade", "y"])
def test_rows_from_elsewhere_need_every_column(frame, column):
    lacking = frame.drop(columns=column)
    with pytest.raises(DataError, match=f"validation table lacks the column '{column}'"):
        prepare(frame, RUN, valid=lacking)
    with pytest.raises(DataError, match=f"test table lacks the column '{column}'"):
        prepare(frame, RUN, test=lacking)


def test_labels_of_a_file_without_the_one_word_among_them_are_known(frame):
    """Without an "A" the column holds numbers, but its labels are those of training."""
    numbers = frame[frame["grade"] != "A"].astype({"grade": float})
    prepared = prepare(frame, RUN, valid=numbers)
    (name,) = (group.name for group in prepared.groups if group.tasks[0].name == "grade")
    valid = prepared.tables["valid"]
    assert valid.masks[name].all()
    labels = prepared.tasks[0].classes
    found = [labels[code] for code in valid.targets[name][:, 0].long().tolist()]
    assert found == frame.loc[frame["grade"] != "A", "grade"].tolist()


PERFORMANCE = RUN.model_copy(update={"balance": BalanceConfig(name="performance", held_out=0.25)})


def test_rows_for_balancing_neither_train_nor_validate(frame):
    plain, prepared = prepare(frame, RUN), prepare(frame, PERFORMANCE)
    aside = set(prepared.aside.index)
    train, valid = (set(prepared.frames[part].index) for part in ("train", "valid"))
    assert aside
    assert not aside & (train | valid)
    assert valid == set(plain.frames["valid"].index), "the validation rows stay what they were"
    assert train | aside == set(plain.frames["train"].index)
    assert len(aside) == pytest.approx(0.25 * len(plain.frames["train"]), abs=2)
    assert len(prepared.balancing.rows) == len(aside)
    assert set(prepared.split.train) == train
    assert plain.balancing is None


def test_rows_for_balancing_do_not_teach_the_encoders(frame):
    first = prepare(frame, PERFORMANCE)
    changed = frame.copy()
    changed.loc[first.aside.index, "x"] = 1e6
    second = prepare(changed, PERFORMANCE)
    assert (second.aside.index == first.aside.index).all()
    for one, two in zip(first.tasks, second.tasks, strict=True):
        assert one.baseline().equal(two.baseline())
    assert first.tables["train"].inputs["numeric"].equal(second.tables["train"].inputs["numeric"])


def test_rows_for_balancing_come_back_for_a_refit(frame):
    prepared = prepare(frame, PERFORMANCE)
    everything, _ = on_all_rows(prepared, PERFORMANCE, epochs=2)
    assert set(everything.frames["train"].index) | set(everything.aside.index) == set(frame.index)


def test_groups_stay_on_one_side_of_the_rows_for_balancing(frame):
    frame["clinic"] = np.arange(60) // 5
    run = PERFORMANCE.model_copy(update={"data": RUN.data.model_copy(update={"group": "clinic"})})
    prepared = prepare(frame, run)
    clinics = [set(own["clinic"]) for own in (prepared.aside, *prepared.frames.values())]
    assert sum(map(len, clinics)) == len(set.union(*clinics))
