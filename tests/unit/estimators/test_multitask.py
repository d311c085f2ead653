"""The estimator on frames with named targets, and on X and Y."""

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score

from polytask.config.run import RunConfig
from polytask.errors import DataError, InvalidArgument, UnknownName, Unsupported
from polytask.estimators import MultiTaskEstimator
from polytask.tasks import Binary, Multiclass, Multilabel, Regression

TARGETS = ["price", "sick", ("stage", "multiclass")]


# Named targets in one frame.


def test_frame_with_three_kinds(mixed, options):
    model = MultiTaskEstimator(TARGETS, **options).fit(mixed)
    predicted = model.predict(mixed.drop(columns=["price", "sick", "stage"]))
    assert list(predicted.columns) == ["price", "sick", "stage"]
    assert predicted.index.equals(mixed.index)
    known = mixed["price"].notna()
    assert r2_score(mixed["price"][known], predicted["price"][known]) > 0.9
    known = mixed["sick"].notna()
    assert (mixed["sick"][known] == predicted["sick"][known]).mean() > 0.9
    assert set(predicted["stage"]) == {0, 1, 2}
    assert model.n_outputs_ == 3
    assert list(model.feature_names_in_) == ["a", "b", "c", "city"]
    assert model.n_features_in_ == 4
    assert model.history_.tasks == ["price", "sick", "stage"]
    assert [row.name for row in model.report_.tasks] == ["price", "sick", "stage"]


def test_probabilities_of_a_frame(mixed, options):
    model = MultiTaskEstimator(TARGETS, **options).fit(mixed)
    chances = model.predict_proba(mixed)
    assert list(chances) == ["sick", "stage"]
    assert list(chances["sick"].columns) == ["no", "yes"] == model.classes_["sick"].tolist()
    assert list(chances["stage"].columns) == [0, 1, 2] == model.classes_["stage"].tolist()
    assert np.allclose(chances["stage"].sum(axis=1), 1)
    predicted = model.predict(mixed)
    assert (chances["sick"].idxmax(axis=1) == predicted["sick"]).all()
    assert (chances["stage"].idxmax(axis=1) == predicted["stage"]).all()


def test_predictions_are_those_of_the_bundle(mixed, options):
    model = MultiTaskEstimator(TARGETS, **options).fit(mixed)
    table = model.bundle_.predict(mixed)
    pd.testing.assert_frame_equal(model.predict(mixed), table[["price", "sick", "stage"]])
    chance = model.predict_proba(mixed)["sick"]["yes"].to_numpy()
    assert np.array_equal(chance, table["sick_probability_yes"].to_numpy())


def test_columns_of_a_frame_may_come_in_any_order(mixed, options):
    model = MultiTaskEstimator(TARGETS, **options).fit(mixed)
    turned = mixed[["city", "c", "b", "a"]]
    pd.testing.assert_frame_equal(model.predict(turned), model.predict(mixed))
    with pytest.raises(DataError, match="'city'"):
        model.predict(mixed.drop(columns="city"))


def test_specifications_reach_the_run(mixed, options):
    targets = [
        Regression("price", loss="huber", delta=2.0),
        Binary("sick", positive="no", label_smoothing=0.1),
        Multiclass("stage", class_weight="balanced", confidence_penalty=0.2),
    ]
    model = MultiTaskEstimator(targets, **options).fit(mixed)
    assert [task.spec for task in model.bundle_.tasks] == targets
    chances = model.predict_proba(mixed)["sick"]
    assert list(chances.columns) == ["yes", "no"]
    assert (chances.idxmax(axis=1) == model.predict(mixed)["sick"]).all()


def test_the_kind_of_the_estimator_is_for_targets_without_one(mixed, options):
    model = MultiTaskEstimator(["stage", "sick"], "classification", **options).fit(mixed)
    assert [task.spec.kind for task in model.bundle_.tasks] == ["multiclass", "binary"]
    auto = MultiTaskEstimator(["stage", "sick"], **options).fit(mixed)
    assert [task.spec.kind for task in auto.bundle_.tasks] == ["regression", "binary"]


def test_multilabel_group_of_a_frame(mixed, options):
    frame = mixed[["a", "b", "c"]].assign(u=mixed["a"] > 0, v=(mixed["b"] > 0) * 1.0)
    frame.loc[frame.index[:20], "v"] = np.nan
    model = MultiTaskEstimator(Multilabel("tags", columns=("u", "v")), **options).fit(frame)
    predicted = model.predict(frame)
    assert list(predicted.columns) == ["u", "v"]
    assert (predicted["u"] == frame["u"]).mean() > 0.9
    assert set(model.predict_proba(frame)) == {"u", "v"} == set(model.classes_)
    assert model.score(frame) > 0.9
    arrays = MultiTaskEstimator(Multilabel("tags", columns=("u", "v")), **options)
    arrays.fit(frame[["a", "b", "c"]], frame[["v", "u"]])
    assert np.array_equal(arrays.predict(frame[["a", "b", "c"]]), predicted.to_numpy(float))


def test_long_table(options):
    rng = np.random.default_rng(1)
    x = rng.normal(size=120)
    school = np.repeat(["A", "B", "C"], 40)
    frame = pd.DataFrame({"school": school, "x": x, "grade": x * 2 + (school == "B") * 5})
    frame["passed"] = np.where(x > 0, "yes", "no")
    long = {"data": {"task_column": "school", "ignore": ["passed"]}}
    model = MultiTaskEstimator("grade", config=long, **options).fit(frame)
    predicted = model.predict(frame)
    assert list(predicted.columns) == ["grade"]
    assert r2_score(frame["grade"], predicted["grade"]) > 0.9
    by_task = [
        r2_score(frame["grade"][school == s], predicted["grade"][school == s]) for s in "ABC"
    ]
    assert model.score(frame) == pytest.approx(np.mean(by_task))
    long = {"data": {"task_column": "school", "ignore": ["grade"]}}
    model = MultiTaskEstimator("passed", config=long, **options).fit(frame)
    chances = model.predict_proba(frame)["passed"]
    assert (chances.idxmax(axis=1) == model.predict(frame)["passed"]).all()
    with pytest.raises(Unsupported, match="fit\\(frame\\)"):
        model.fit(frame[["school", "x"]], frame["passed"])


def test_score_of_a_frame_is_the_mean_over_tasks_without_gaps(mixed, options):
    model = MultiTaskEstimator(TARGETS, **options).fit(mixed)
    predicted = model.predict(mixed)
    known = mixed["price"].notna()
    price = r2_score(mixed["price"][known], predicted["price"][known])
    sick = (predicted["sick"] == mixed["sick"])[mixed["sick"].notna()].mean()
    stage = (predicted["stage"] == mixed["stage"])[mixed["stage"].notna()].mean()
    assert model.score(mixed) == pytest.approx((price + sick + stage) / 3)
    counted_as_wrong = (predicted["sick"] == mixed["sick"]).mean()
    assert sick > counted_as_wrong, "gaps must not count as wrong answers"
    labels = mixed[["stage", "price", "sick"]]
    assert model.score(mixed, labels) == model.score(mixed)
    none = mixed.assign(price=np.nan)
    assert model.score(none) == pytest.approx((sick + stage) / 2)
    with pytest.raises(DataError, match="No row to score has a label"):
        model.score(none.assign(sick=None, stage=np.nan))


def test_score_weighs_the_rows(mixed, options):
    model = MultiTaskEstimator("sick", **options | {"epochs": 2}).fit(mixed)
    right = model.predict(mixed)["sick"] == mixed["sick"]
    weights = np.where(right, 1.0, 3.0)
    known = mixed["sick"].notna()
    expected = np.average(right[known], weights=weights[known])
    assert model.score(mixed, sample_weight=weights) == pytest.approx(expected)
    assert expected < model.score(mixed)


def test_a_class_that_training_did_not_have_scores_as_wrong(mixed, options):
    model = MultiTaskEstimator("sick", **options).fit(mixed)
    known = mixed[mixed["sick"].notna()].head(50)
    strange = known.assign(sick="perhaps")
    assert model.score(strange) == 0.0


# X and Y.


def test_mixed_columns_of_y(mixed, options):
    X, Y = mixed[["a", "b", "c", "city"]], mixed[["price", "sick", "stage"]]
    model = MultiTaskEstimator(TARGETS, **options).fit(X, Y)
    predicted = model.predict(X)
    assert predicted.shape == (150, 3)
    assert predicted.dtype == object
    chances = model.predict_proba(X)
    assert [block.shape for block in chances] == [(150, 2), (150, 3)]
    assert model.classes_[0] is None
    assert model.classes_[2].tolist() == [0.0, 1.0, 2.0]
    assert model.score(X, Y) == pytest.approx(
        MultiTaskEstimator(TARGETS, **options).fit(mixed).score(mixed)
    )


def test_missing_labels_of_an_array(options):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(100, 2))
    Y = np.stack([X[:, 0], 2 * X[:, 1]], axis=1)
    Y[::3, 0] = np.nan
    Y[1::4, 1] = np.nan
    model = MultiTaskEstimator(kind="regression", **options).fit(X, Y)
    assert np.isfinite(model.predict(X)).all()
    predicted = model.predict(X)
    own = [r2_score(Y[known, k], predicted[known, k]) for k, known in enumerate(~np.isnan(Y).T)]
    assert model.score(X, Y) == pytest.approx(np.mean(own))
    assert min(own) > 0.8


def test_missing_inputs_of_an_array(options):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 2))
    y = X[:, 0].copy()
    X[::4, 1] = np.nan
    assert MultiTaskEstimator(kind="regression", **options).fit(X, y).score(X, y) > 0.8


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array(["b", "a"] * 30), ["a", "b"]),
        (["b", None, "a"] * 20, ["a", "b"]),
        (np.array([3.0, -1.0, np.nan] * 20), [-1.0, 3.0]),
        (np.array([True, False] * 30), [False, True]),
        (pd.Series(["x", "y", "z"] * 20, dtype="category"), ["x", "y", "z"]),
        (pd.Series([5, 7, pd.NA] * 20, dtype="Int64"), [5, 7]),
        ([10, 9, 100] * 20, [9, 10, 100]),
        (np.array(["10", "9", "100"] * 20), ["10", "100", "9"]),
    ],
)
def test_classes_are_those_of_the_caller(labels, expected, options):
    X = np.random.default_rng(4).normal(size=(60, 2))
    model = MultiTaskEstimator(kind="classification", **options | {"epochs": 2}).fit(X, labels)
    assert model.classes_.tolist() == expected
    assert [type(label) for label in model.classes_.tolist()] == [type(e) for e in expected]
    predicted = model.predict(X)
    assert set(predicted.tolist()) <= set(expected)
    assert predicted.dtype == model.classes_.dtype
    chances = model.predict_proba(X)
    assert np.array_equal(model.classes_[chances.argmax(1)], predicted)


def test_probabilities_follow_the_order_of_the_classes(options):
    """The classes 9, 10, 100 as texts sort otherwise than as numbers."""
    x = np.repeat([-1.0, 0.0, 1.0], 30)
    labels = np.repeat(["9", "10", "100"], 30)
    model = MultiTaskEstimator(kind="classification", **options).fit(x[:, None], labels)
    chances = model.predict_proba(np.array([[-1.0], [0.0], [1.0]]))
    assert chances.argmax(1).tolist() == [2, 0, 1]
    assert model.predict([[-1.0], [0.0], [1.0]]).tolist() == ["9", "10", "100"]


def test_a_class_with_one_row_is_a_class(options):
    X = np.random.default_rng(5).normal(size=(40, 2))
    y = np.array([0, 1] * 19 + [0, 7])
    model = MultiTaskEstimator(kind="classification", **options | {"epochs": 2}).fit(X, y)
    assert model.classes_.tolist() == [0, 1, 7]
    assert model.predict_proba(X).shape == (40, 3)


def test_shapes_of_predictions(options):
    X = np.random.default_rng(6).normal(size=(40, 2))
    quick = options | {"epochs": 2}
    one = MultiTaskEstimator(kind="regression", **quick)
    assert one.fit(X, X[:, 0]).predict(X).shape == (40,)
    assert one.fit(X, X[:, :1]).predict(X).shape == (40, 1)
    assert one.fit(X, X).predict(X).shape == (40, 2)
    assert one.predict(X).dtype == np.float64
    assert not hasattr(one, "classes_")
    assert not hasattr(one, "feature_names_in_")
    with pytest.raises(Unsupported, match="no target of this model has classes"):
        MultiTaskEstimator(**quick).fit(X, X).predict_proba(X)


def test_numbers_of_an_array_are_never_taken_for_names_of_rows(options):
    """The same column in a frame counts the rows, and is left out."""
    X = np.arange(60)[:, None]
    y = np.arange(60) * 2.0
    quick = options | {"epochs": 2}
    assert MultiTaskEstimator(**quick).fit(X, y).bundle_.manifest["columns"] == ["x0"]
    with pytest.raises(DataError, match="No input column is left"):
        MultiTaskEstimator(**quick).fit(pd.DataFrame({"row": X[:, 0]}), y)


def test_arrow_table_and_frames_of_other_indices(mixed, options):
    X, y = mixed[["a", "b", "city"]], mixed["price"]
    quick = options | {"epochs": 3}
    expected = MultiTaskEstimator(**quick).fit(X, y).predict(X)
    shifted = y.set_axis(np.arange(len(y))[::-1])
    assert np.array_equal(MultiTaskEstimator(**quick).fit(X, shifted).predict(X), expected)
    arrow = pyarrow.Table.from_pandas(X, preserve_index=False)
    assert np.array_equal(MultiTaskEstimator(**quick).fit(arrow, y).predict(arrow), expected)


def test_a_frame_model_predicts_an_array_with_a_warning(mixed, options):
    X, y = mixed[["a", "b", "city"]], mixed["price"]
    model = MultiTaskEstimator(**options | {"epochs": 3}).fit(X, y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        predicted = model.predict(X.to_numpy(dtype=object))
    assert np.array_equal(predicted, model.predict(X))


# Weights, seeds, state.


def test_sample_weight_changes_the_model(options):
    X = np.random.default_rng(7).uniform(-1, 1, size=(120, 1))
    y = np.where(np.arange(120) % 2, 10.0, -10.0)
    model = MultiTaskEstimator(kind="regression", **options)
    weights = np.where(y > 0, 9.0, 1.0)
    middle = model.fit(X, y).predict(X).mean()
    raised = model.fit(X, y, sample_weight=weights).predict(X).mean()
    assert abs(middle) < 2
    assert raised == pytest.approx(8.0, abs=2)  # the weighted mean of the labels is 8


def test_a_row_of_weight_zero_is_a_row_removed(mixed, options):
    quick = options | {"epochs": 5}
    weights = (np.arange(150) % 3 > 0) * 2.0
    kept = mixed[weights > 0]
    weighted = MultiTaskEstimator(TARGETS, **quick).fit(mixed, sample_weight=weights)
    removed = MultiTaskEstimator(TARGETS, **quick).fit(kept, sample_weight=weights[weights > 0])
    pd.testing.assert_frame_equal(weighted.predict(mixed), removed.predict(mixed))
    everything = MultiTaskEstimator(TARGETS, **quick).fit(mixed)
    assert not everything.predict(mixed).equals(weighted.predict(mixed))


def test_fitting_twice_does_not_continue(mixed, options):
    quick = options | {"epochs": 3}
    model = MultiTaskEstimator("price", **quick)
    first = model.fit(mixed).predict(mixed)
    pd.testing.assert_frame_equal(model.fit(mixed).predict(mixed), first)
    assert len(model.history_.epochs) == 3
    model.set_params(targets=None, kind="regression").fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 4.0])
    assert not hasattr(model, "classes_")
    assert model.n_features_in_ == 1
    assert not hasattr(model, "feature_names_in_")


def test_random_states(mixed, options):
    quick = options | {"epochs": 2}

    def run(random_state, config=None):
        model = MultiTaskEstimator("price", config=config, **quick)
        model.set_params(random_state=random_state).fit(mixed)
        return model.run_.seed, model.predict(mixed).to_numpy()

    assert run(None)[0] == 0
    assert run(None, {"seed": 6})[0] == 6
    assert run(5, {"seed": 6})[0] == 5
    assert run(np.int64(5))[0] == 5
    assert not np.array_equal(run(0)[1], run(1)[1])
    state = np.random.RandomState(3)
    seeds = [run(state)[0], run(state)[0]]
    assert seeds[0] != seeds[1]
    assert seeds[0] == run(np.random.RandomState(3))[0]


def test_global_generators_are_not_touched(mixed, options):
    torch.manual_seed(11)
    np.random.seed(11)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(11)
    np.random.seed(11)
    for random_state in (None, 4):
        model = MultiTaskEstimator(TARGETS, **options | {"epochs": 2})
        model.set_params(random_state=random_state).fit(mixed).predict(mixed)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


def test_what_is_learned_comes_from_fit_alone(mixed, options):
    """Predicting other rows changes neither the fitted state nor later predictions."""
    model = MultiTaskEstimator(TARGETS, **options | {"epochs": 3}).fit(mixed)
    before = model.predict(mixed)
    far = mixed.assign(a=mixed["a"] * 1e6, city="Ulm")
    model.predict(far)
    pd.testing.assert_frame_equal(model.predict(mixed), before)
    alone = model.predict(mixed.iloc[[7]])
    assert alone["price"].iloc[0] == pytest.approx(before["price"].iloc[7], rel=1e-5)


def test_callers_objects_are_not_changed(mixed, options):
    config = {"model": {"width": 8}, "data": {"kinds": {"city": "category"}}}
    frame, X = mixed.copy(), mixed[["a"]].to_numpy()
    copy = X.copy()
    MultiTaskEstimator(TARGETS, config=config, **options | {"epochs": 2}).fit(frame)
    config_x = {"data": {}}
    MultiTaskEstimator(config=config_x, **options | {"epochs": 2}).fit(
        X, mixed["sick"], sample_weight=np.ones(150)
    )
    assert config == {"model": {"width": 8}, "data": {"kinds": {"city": "category"}}}
    assert config_x == {"data": {}}
    pd.testing.assert_frame_equal(frame, mixed)
    assert np.array_equal(X, copy)


# Mistakes.


def test_not_fitted():
    model = MultiTaskEstimator()
    for method in (model.predict, model.predict_proba, model.score):
        with pytest.raises(NotFittedError):
            method([[1.0]])
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize(
    ("parameters", "error", "sentence"),
    [
        ({"kind": "clasification"}, UnknownName, "Did you mean 'classification'"),
        ({"kind": "classification"}, DataError, "Unknown label type: 'y' holds continuous"),
        ({"width": 0}, InvalidArgument, "`width` of MultiTaskEstimator.*at least 1"),
        ({"width": "8"}, InvalidArgument, "`width`.*whole number; got '8'"),
        ({"config": {"modle": {}}}, UnknownName, "Did you mean `model`"),
        ({"config": 3}, InvalidArgument, "`config` must be a RunConfig"),
        ({"config": {"model": 3}, "width": 3}, InvalidArgument, "`config.model` must be a table"),
        ({"random_state": "x"}, InvalidArgument, "`random_state` must be None"),
        ({"random_state": -1}, InvalidArgument, "`random_state` must be at least 0"),
        ({"balance": "eqaul"}, UnknownName, "Did you mean 'equal'"),
        ({"task_weights": [1, 2]}, InvalidArgument, "one weight per task; got 2 for 1 tasks: y"),
        ({"task_weights": {"q": 1}}, UnknownName, "'q' does not exist"),
        ({"task_weights": 3}, InvalidArgument, "`task_weights` must be a mapping or a list"),
        ({"targets": ["u", "v"]}, DataError, "`y` has 1 columns and `targets` name 2"),
        ({"targets": 3}, InvalidArgument, "`targets` must be a list"),
        ({"targets": []}, InvalidArgument, "`targets` must be a list"),
        ({"targets": [3]}, InvalidArgument, "Each of `targets` must be"),
        ({"targets": [Regression("y", center=1.0)]}, Unsupported, "`center` of target 'y'"),
    ],
)
def test_mistakes_are_named(parameters, error, sentence):
    X = np.random.default_rng(8).normal(size=(20, 2))
    with pytest.raises(error, match=sentence):
        MultiTaskEstimator(**parameters).fit(X, X[:, 0])


def test_mistakes_in_the_data_are_named(mixed):
    X = mixed[["a", "b", "c"]]
    with pytest.raises(InvalidArgument, match="requires y to be passed"):
        MultiTaskEstimator().fit(X)
    with pytest.raises(DataError, match="Did you mean 'price'"):
        MultiTaskEstimator("pric").fit(mixed)
    with pytest.raises(DataError, match="Did you mean 'price'"):
        MultiTaskEstimator("pric").fit(X, mixed[["price", "sick"]])
    with pytest.raises(DataError, match="must not hold the label"):
        MultiTaskEstimator().fit(mixed, mixed["price"])
    with pytest.raises(DataError, match="Complex data not supported: column 'a'"):
        MultiTaskEstimator().fit(X.assign(a=1j), mixed["price"])
    with pytest.raises(DataError, match="Complex data not supported"):
        MultiTaskEstimator().fit(X, mixed["price"] * 1j)
    with pytest.raises(DataError, match="only one class"):
        MultiTaskEstimator(kind="classification").fit(X, ["a"] * 150)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MultiTaskEstimator().fit(X, mixed["price"].head(7))
    with pytest.raises(InvalidArgument, match="one or two axes"):
        MultiTaskEstimator().fit(X, np.zeros((150, 2, 2)))


def test_mistakes_in_the_weights_are_named(mixed):
    X, y = mixed[["a", "b"]], mixed["price"]
    model = MultiTaskEstimator()
    with pytest.raises(InvalidArgument, match="one weight per row"):
        model.fit(X, y, sample_weight=np.ones(3))
    with pytest.raises(InvalidArgument, match=r"at least 0; got -1\.0"):
        model.fit(X, y, sample_weight=-np.ones(150))
    with pytest.raises(InvalidArgument, match="zero in every row"):
        model.fit(X, y, sample_weight=np.zeros(150))
    model = MultiTaskEstimator("price", config={"data": {"weight": "b"}})
    with pytest.raises(InvalidArgument, match="both weigh the rows"):
        model.fit(mixed, sample_weight=np.ones(150))


# The base configuration.


def test_config_is_the_base_and_parameters_win(mixed, options, tmp_path):
    text = 'seed = 3\n[model]\nwidth = 9\ndepth = 2\n[[targets]]\nname = "price"\nloss = "huber"\n'
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    given = {
        "seed": 3,
        "model": {"width": 9, "depth": 2},
        "targets": [{"name": "price", "loss": "huber"}],
    }
    for config in (tmp_path / "run.toml", str(tmp_path / "run.toml"), given, RunConfig(**given)):
        model = MultiTaskEstimator(config=config, width=16, epochs=2).fit(mixed)
        run = model.run_
        assert (run.seed, run.model.width, run.model.depth) == (3, 16, 2)
        assert run.targets[0].loss == "huber"
        assert model.predict(mixed).shape == (150, 1)
    named = MultiTaskEstimator("sick", config=given, epochs=2).fit(mixed)
    assert [target.name for target in named.run_.targets] == ["sick"]


def test_every_option_reaches_its_place(mixed):
    values = {
        "width": 8,
        "depth": 2,
        "dropout": 0.25,
        "learning_rate": 0.5e-2,
        "weight_decay": 0.125,
        "batch_size": 40,
        "epochs": 2,
        "patience": 7,
        "validation_fraction": 0.3,
    }
    run = MultiTaskEstimator(["price", "sick"], balance="equal", **values).fit(mixed).run_
    found = {
        "width": run.model.width,
        "depth": run.model.depth,
        "dropout": run.model.dropout,
        "learning_rate": run.optimizer.learning_rate,
        "weight_decay": run.optimizer.weight_decay,
        "batch_size": run.training.batch_size,
        "epochs": run.training.epochs,
        "patience": run.training.patience,
        "validation_fraction": run.split.valid,
    }
    assert found == values
    assert run.balance.name == "equal"


def test_task_weights_by_name_and_by_order(mixed, options):
    quick = options | {"epochs": 3}
    by_order = MultiTaskEstimator(["price", "sick"], task_weights=(1, 5), **quick).fit(mixed)
    by_name = MultiTaskEstimator(["price", "sick"], task_weights={"sick": 5}, **quick).fit(mixed)
    assert by_order.run_.balance.name == "fixed"
    assert by_order.run_.balance.weights == {"price": 1, "sick": 5}
    pd.testing.assert_frame_equal(by_order.predict(mixed), by_name.predict(mixed))
    plain = MultiTaskEstimator(["price", "sick"], **quick).fit(mixed)
    assert not plain.predict(mixed).equals(by_order.predict(mixed))


def test_no_validation_rows_run_all_epochs(mixed, options):
    model = MultiTaskEstimator("price", validation_fraction=0.0, **options | {"epochs": 4})
    assert len(model.fit(mixed).history_.epochs) == 4
