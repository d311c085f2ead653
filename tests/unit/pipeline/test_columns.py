"""Every column gets one use, and mistakes are named."""

import pytest

from polytask.config.run import RunConfig
from polytask.errors import DataError, InvalidArgument
from polytask.pipeline.columns import assign_columns

COLUMNS = ["id", "age", "ward", "day", "dose", "sex", "progression"]


def run(**data):
    return RunConfig.model_validate({"targets": [{"name": "progression"}], "data": data})


def test_uses():
    uses = assign_columns(COLUMNS, run(id=["id"], group="ward", time="day", weight="dose"))
    assert uses.of("input") == ("age", "sex")
    assert uses.of("target") == ("progression",)
    assert uses.of("group") == ("ward",)


def test_multilabel_targets_use_their_columns():
    config = RunConfig.model_validate({"targets": [{"name": "tags", "columns": ["age", "sex"]}]})
    assert assign_columns(COLUMNS, config).of("target") == ("age", "sex")


def test_no_such_column_names_the_nearest():
    config = RunConfig.model_validate({"targets": [{"name": "progresion"}]})
    with pytest.raises(DataError, match="Did you mean 'progression'"):
        assign_columns(COLUMNS, config)


def test_two_uses_are_refused():
    with pytest.raises(InvalidArgument, match="'progression' cannot be target and weight"):
        assign_columns(COLUMNS, run(weight="progression"))


def test_id_and_group_may_be_one_column():
    uses = assign_columns(COLUMNS, run(id=["ward"], group="ward"))
    assert "ward" not in uses.of("input")


def test_no_input_left():
    with pytest.raises(DataError, match="no input column left"):
        assign_columns(["progression"], run())
