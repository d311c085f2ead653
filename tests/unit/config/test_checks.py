"""Options that contradict each other are refused in one sentence."""

import pytest

from polytask.config import check_run, run_from_document
from polytask.config.checks import SMALLEST_ALPHA
from polytask.config.run import RunConfig
from polytask.errors import InvalidArgument, UnknownName, Unsupported
from polytask.regularization.inputs import mixup

TARGETS = [{"name": "sex"}, {"name": "age"}]

CONTRADICTIONS = [
    ({"optimizer": {"nesterov": True}}, "`optimizer.nesterov` has no effect here: it needs"),
    ({"optimizer": {"name": "adam", "momentum": 0.9}}, "`optimizer.momentum` has no effect"),
    ({"optimizer": {"name": "sgd", "betas": [0.9, 0.99]}}, "`optimizer.betas` has no effect"),
    ({"optimizer": {"name": "sgd", "nesterov": True, "momentum": 0.0}}, "needs momentum"),
    ({"model": {"backbone": "tabm", "drop_connect": 0.1}}, "`model.drop_connect` has no effect"),
    ({"model": {"backbone": "tabm", "concrete_dropout": True}}, "`model.concrete_dropout` has no"),
    ({"model": {"dropout": 0.0, "concrete_dropout": True}}, "`model.concrete_dropout` has no"),
    ({"model": {"concrete_length_scale": 1.0}}, "`model.concrete_length_scale` has no effect"),
    (
        {"model": {"concrete_dropout": True, "dropout_schedule": "flat-cosine"}},
        "`model.dropout_schedule` has no effect",
    ),
    (
        {"model": {"skip": True}, "inputs": {"manifold_mixup": 2.0}},
        "`inputs.manifold_mixup` has no effect here: it needs model.skip=false",
    ),
    *(
        (
            {"targets": [{"name": "age", "kind": "regression"}], "inputs": {option: 0.001}},
            f"`inputs.{option}` must be at least 0.01, or 0 for off; got 0.001",
        )
        for option in ("mixup", "c_mixup", "manifold_mixup")
    ),
    ({"model": {"dropout_samples": 4}}, "`model.dropout_samples` has no effect here: it needs"),
    ({"model": {"backbone": "tabm", "skip": True}}, "`model.skip` has no effect here: it needs"),
    (
        {"update": {"sam": 0.05, "asam": 0.5}},
        "`update.asam` has no effect here: it needs update.sam=0",
    ),
    ({"update": {"lookahead_share": 0.8}}, "`update.lookahead_share` has no effect here"),
    ({"inputs": {"adversarial_share": 0.8}}, "`inputs.adversarial_share` has no effect here"),
    ({"schedule": {"patience": 3}}, "`schedule.patience` has no effect here: it needs"),
    ({"schedule": {"name": "cosine", "factor": 0.5}}, "`schedule.factor` has no effect"),
    ({"training": {"stopping": "none", "patience": 3}}, "`training.patience` has no effect"),
    ({"balance": {"name": "equal", "weights": {"sex": 2.0}}}, 'needs balance.name="fixed"'),
    (
        {"balance": {"name": "pooled", "schedule": {"sex": [[0, 1.0]]}}},
        'needs balance.name="scheduled"',
    ),
    ({"balance": {"name": "equal", "every": 4}}, "`balance.every` has no effect here"),
    ({"balance": {"name": "graddrop", "clip": 1.0}}, "a method that weighs task gradients"),
    ({"balance": {"name": "famo", "at": "representation"}}, "a method that combines task grad"),
    ({"balance": {"name": "mgda", "preference": {"sex": 2.0}}}, "`balance.preference` has no eff"),
    ({"balance": {"name": "upgrad", "held_out": 0.2}}, "it needs one of balance.name=performance"),
    (
        {"balance": {"name": "upgrad", "clip": 1.0, "equalize": "mean"}},
        "`balance.clip` has no effect beside `balance.equalize`",
    ),
    ({"balance": {"name": "krum"}}, "`targets` must be 3 or more, for `balance.name` = "),
    (
        {
            "targets": [{"name": name} for name in "abcd"],
            "balance": {"name": "krum", "options": {"outliers": 2}},
        },
        'must be 5 or more, for `balance.name` = "krum" to choose from; got 4. Name more',
    ),
    (
        {
            "targets": [{"name": name} for name in "abc"],
            "balance": {"name": "krum", "options": {"selected": 4}},
        },
        "`targets` must be 4 or more",
    ),
    ({"balance": {"name": "scheduled"}}, "must name at least one task for scheduled weights"),
    (
        {"balance": {"weights": {"sex": 1.0}, "schedule": {"sex": [[0, 1.0]]}}},
        "both set the task weights; keep one",
    ),
    ({"data": {"split": "part"}, "split": {"valid": 0.3}}, "it needs no data.split column"),
    ({"data": {"time": "day"}, "split": {"stratify": True}}, "it needs a random split"),
    ({"schedule": {"name": "plateau"}, "split": {"valid": 0.0}}, "watches validation rows"),
    ({"targets": [{"name": "a", "delta": 2.0}]}, "`delta` of target 'a' has no effect"),
    (
        {"targets": [{"name": "a", "weight": 2.0}], "balance": {"name": "pooled"}},
        "`weight` of target 'a' has no effect",
    ),
    ({"targets": [{"name": "a", "kind": "multilabel"}]}, "is multilabel and names no columns"),
    (
        {"targets": [{"name": "a", "kind": "binary", "columns": ["b", "c"]}]},
        "a binary target has one",
    ),
]


@pytest.mark.parametrize(("document", "words"), CONTRADICTIONS)
def test_contradictions(document, words):
    with pytest.raises(InvalidArgument) as caught:
        run_from_document({"targets": TARGETS, **document})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        {"optimizer": {"name": "sgd", "nesterov": True}},
        {"balance": {"weights": {"sex": 2.0}}},
        {"schedule": {"name": "plateau", "patience": 3}},
        {"balance": {"name": "fixed", "weights": {"sex": 2.0}}},
        {"targets": [{"name": "a", "weight": 2.0}], "balance": {"name": "fixed"}},
        {"targets": [{"name": name} for name in "abc"], "balance": {"name": "krum"}},
        {
            "targets": [{"name": name} for name in "abcd"],
            "balance": {"name": "krum", "options": {"outliers": 1, "selected": 4}},
        },
        {"data": {"task_column": "school"}, "balance": {"name": "krum"}},
        {"data": {"time": "day"}, "split": {"valid": 0.3}},
        {"targets": [{"name": "a", "loss": "huber", "delta": 2.0}]},
    ],
)
def test_what_goes_together(document):
    run_from_document({"targets": TARGETS, **document})


def test_a_file_of_validation_rows_feeds_the_plateau():
    document = {"targets": TARGETS, "schedule": {"name": "plateau"}, "split": {"valid": 0.0}}
    run_from_document(document, valid_file=True)


def test_python_users_may_write_a_default_out():
    # An object cannot tell a typed default from an untyped one once it is copied.
    run = RunConfig.model_validate({"targets": TARGETS, "optimizer": {"momentum": 0.9}})
    check_run(run)
    with pytest.raises(InvalidArgument, match=r"optimizer\.momentum"):
        check_run(run, explicit=True)
    changed = RunConfig.model_validate({"targets": TARGETS, "optimizer": {"momentum": 0.5}})
    with pytest.raises(InvalidArgument, match=r"optimizer\.momentum"):
        check_run(changed)


def test_an_unknown_method_is_found_before_the_table_is_read():
    with pytest.raises(
        UnknownName, match=r"`balance` 'eqaul' does not exist. Did you mean 'equal'"
    ):
        run_from_document({"targets": TARGETS, "balance": {"name": "eqaul"}})


def test_the_smallest_alpha_is_that_of_the_techniques():
    assert SMALLEST_ALPHA == mixup.SMALLEST_ALPHA


def test_rows_are_mixed_in_one_way():
    """Both options by name: one of them may come from a preset."""
    for document in (
        {"inputs": {"mixup": 0.2, "manifold_mixup": 2.0}},
        {"defence": "small", "inputs": {"manifold_mixup": 2.0}},
    ):
        words = "`inputs.mixup` cannot be combined with `inputs.manifold_mixup`: a row has one"
        with pytest.raises(Unsupported, match=words):
            run_from_document({"targets": TARGETS, **document})
    run_from_document(
        {"targets": TARGETS, "defence": "small", "inputs": {"manifold_mixup": 2.0, "mixup": 0.0}}
    )
