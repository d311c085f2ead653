"""From a table to encoded rows: rows from elsewhere."""

import numpy as np
import pandas
import pytest

from polytask.config.run import RunConfig
from polytask.errors import DataError
from polytask.pipeline import prepare


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
