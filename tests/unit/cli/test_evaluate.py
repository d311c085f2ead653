"""``evaluate`` on tables that are not like the training table."""

import json

import pandas as pd
import pytest


@pytest.fixture
def fitted(polytask, table, tmp_path, quick):
    out = tmp_path / "run"
    done = polytask("fit", table, "--target", "level", "--target", "ill", "--out", out, *quick)
    assert done.status == 0, done.err
    return out


@pytest.mark.filterwarnings("always::polytask.errors.PolytaskWarning")
def test_a_table_with_one_of_the_targets(fitted, polytask, table, tmp_path):
    whole = json.loads(polytask("evaluate", fitted, table, "--json").out)
    part = tmp_path / "part.csv"
    pd.read_csv(table).drop(columns="ill").to_csv(part, index=False)
    done = polytask("evaluate", fitted, part, "--json")
    assert done.status == 0, done.err
    assert "The table lacks 'ill'" in done.err
    level, ill = json.loads(done.out)
    assert level == whole[0]
    assert ill["labels"] == 0
    assert all(metric["model"] is None for metric in ill["metrics"])


def test_a_table_without_any_target_is_a_mistake(fitted, polytask, table, tmp_path):
    none = tmp_path / "none.csv"
    pd.read_csv(table).drop(columns=["ill", "level"]).to_csv(none, index=False)
    done = polytask("evaluate", fitted, none)
    assert done.status == 2
    assert "'level' does not exist" in done.err


@pytest.mark.filterwarnings("always::polytask.errors.PolytaskWarning")
def test_a_stray_word_does_not_make_strangers_of_the_labels(fitted, polytask, table, tmp_path):
    frame = pd.read_csv(table)
    frame["ill"] = frame["ill"].map({"yes": "yes", "no": "no"}).astype(object)
    frame.loc[0, "ill"] = "perhaps"
    strange = tmp_path / "strange.csv"
    frame.to_csv(strange, index=False)
    done = polytask("evaluate", fitted, strange, "--json")
    assert "class 'perhaps' does not occur" in done.err
    assert json.loads(done.out)[1]["labels"] == frame["ill"].notna().sum() - 1
