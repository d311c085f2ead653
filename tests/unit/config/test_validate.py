"""Every mistake in a run file gets one sentence: the file, the option and what is valid."""

import pytest

from polytask.config import load_run, run_document, run_from_document, run_to_toml
from polytask.config.toml import to_toml
from polytask.config.validate import dotted, valid_keys
from polytask.errors import InvalidArgument, PolytaskError, UnknownName

TARGETS = [{"name": "sex"}, {"name": "age", "kind": "regression"}]


def complain(**document):
    with pytest.raises(PolytaskError) as caught:
        run_from_document({"targets": TARGETS, **document}, source="run.toml")
    text = str(caught.value)
    assert "\n" not in text
    assert "pydantic" not in text
    return text


def test_a_misspelled_option_names_the_nearest():
    text = complain(model={"widht": 3})
    assert text.startswith("run.toml: `model.widht` does not exist. Did you mean `model.width`?")


def test_an_option_in_the_wrong_section_is_found_elsewhere():
    assert "Did you mean `training.epochs`?" in complain(epochs=3)
    assert "Did you mean `optimizer.learning_rate`?" in complain(training={"learning_rate": 0.1})


def test_an_unknown_section_lists_the_valid_ones():
    assert "Valid here: 'targets', 'defence', 'data', 'split'" in complain(zzzzzz={})


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"seed": "3"}, "`seed` must be a whole number; got '3'."),
        ({"seed": 1.5}, "`seed` must be a whole number; got 1.5."),
        ({"seed": -1}, "`seed` must be at least 0; got -1."),
        ({"model": {"dropout": 1}}, "`model.dropout` must be below 1; got 1."),
        ({"model": {"dropout": "no"}}, "`model.dropout` must be a number; got 'no'."),
        ({"model": 3}, "`model` must be a table; got 3."),
        ({"optimizer": {"nesterov": 1}}, "`optimizer.nesterov` must be true or false; got 1."),
        ({"optimizer": {"betas": 0.9}}, "`optimizer.betas` must be a list; got 0.9."),
        ({"optimizer": {"learning_rate": float("inf")}}, "must be finite; got inf."),
        ({"data": {"weight": 3}}, "`data.weight` must be text; got 3. Put it in quotes."),
        ({"balance": {"weights": {"sex": -1}}}, "`balance.weights.sex` must be at least 0"),
    ],
)
def test_wrong_values_name_key_rule_and_value(document, words):
    text = complain(**document)
    assert text.startswith("run.toml: ")
    assert words in text


def test_a_wrong_choice_lists_the_valid_ones_and_the_nearest():
    text = complain(model={"backbone": "mpl"})
    assert "`model.backbone` must be one of 'mlp', 'residual-mlp', 'tabm'; got 'mpl'." in text
    assert text.endswith("Did you mean 'mlp'?")


def test_a_mistake_in_a_target_names_its_position():
    with pytest.raises(
        InvalidArgument, match=r"run: `targets\.1\.kind` must be one of .*'numeric'"
    ):
        run_from_document({"targets": [{"name": "a"}, {"name": "b", "kind": "numeric"}]})
    with pytest.raises(InvalidArgument, match=r"`targets\.0\.name` is missing"):
        run_from_document({"targets": [{"kind": "count"}]})


@pytest.mark.parametrize("document", [{}, {"targets": []}])
def test_no_target(document):
    with pytest.raises(InvalidArgument, match=r"No target is named\. Type --target NAME"):
        run_from_document(document)


def test_a_target_named_twice_or_without_a_name():
    with pytest.raises(InvalidArgument, match="The target 'a' is named twice"):
        run_from_document({"targets": [{"name": "a"}, {"name": "a"}]})
    with pytest.raises(InvalidArgument, match="must not be empty"):
        run_from_document({"targets": [{"name": ""}]})


def test_whoever_set_the_value_is_named():
    sources = [(("model",), "--one"), (("model", "width"), "--set model.width=-1")]
    with pytest.raises(InvalidArgument, match=r"^--set model\.width=-1: `model\.width` must"):
        run_from_document({"targets": TARGETS, "model": {"width": -1}}, sources=sources)
    with pytest.raises(InvalidArgument, match=r"^--one: `model\.depth` must"):
        run_from_document({"targets": TARGETS, "model": {"depth": -1}}, sources=sources)


def test_the_written_run_is_the_run(tmp_path):
    run = run_from_document(
        {
            "targets": [*TARGETS, {"name": "tags", "kind": "multilabel", "columns": ["a", "b.c"]}],
            "optimizer": {"name": "sgd", "momentum": 0.5, "rates": {"role:head": 2.0}},
            "balance": {"name": "scheduled", "schedule": {"sex": [[0, 1.0], [5, 0.2]]}},
            "data": {"kinds": {"zip code": "category"}, "id": ["patient"]},
            "schedule": {"name": "plateau", "factor": 0.1},
        }
    )
    path = tmp_path / "run.toml"
    path.write_text(run_to_toml(run))
    assert load_run(path) == run


def test_weights_of_an_automatic_balance_are_written():
    run = run_from_document({"targets": TARGETS, "balance": {"weights": {"sex": 2.0}}})
    assert run.balance.name == "auto"
    assert run_from_document(run_document(run)) == run


def test_options_without_a_meaning_are_not_written():
    # Written out, momentum = 0.9 would be refused when the file is read for an Adam run.
    run = run_from_document({"targets": TARGETS})
    document = run_document(run)
    assert "momentum" not in document["optimizer"]
    assert run_from_document(document) == run
    with pytest.raises(InvalidArgument, match=r"optimizer\.momentum` has no effect"):
        run_from_document(run.model_dump(mode="json"))


def test_the_names_of_options():
    assert valid_keys(("balance", "weights")) is None
    assert "loss" in valid_keys(("targets", 0))
    assert dotted(("optimizer", "rates", "role:head")) == "optimizer.rates.role:head"


def test_a_date_is_read_as_text_and_refused_where_a_number_stands(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(to_toml({"targets": TARGETS}) + "[model]\nwidth = 2020-01-01\n")
    with pytest.raises(InvalidArgument, match=r"`model\.width` must be a whole number"):
        load_run(path)


def test_unknown_name_is_a_value_error():
    with pytest.raises(ValueError, match="does not exist"):
        run_from_document({"targets": TARGETS, "x": 1})
    assert issubclass(UnknownName, ValueError)
