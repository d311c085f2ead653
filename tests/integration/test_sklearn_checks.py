"""scikit-learn's own checks of an estimator, and its tools around ours."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    parametrize_with_checks,
)

from polytask.estimators import MultiTaskEstimator

SMALL = {"width": 16, "depth": 1, "dropout": 0.0, "learning_rate": 1e-2, "batch_size": 32}

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "A weight of 2 and a repeated row have the same loss, but not the same path: the split "
        "that stops training and the mini-batches are drawn over rows. A weight of 0 is the same "
        "as removing the row (tested on its own)."
    ),
}
"""Every check that may fail, with the reason."""


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other make tiny networks slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def expected_failed_checks(estimator):
    return EXPECTED_FAILURES


@parametrize_with_checks(
    [
        MultiTaskEstimator(kind="regression", epochs=10, **SMALL),
        MultiTaskEstimator(kind="classification", epochs=10, **SMALL),
    ],
    expected_failed_checks=expected_failed_checks,
    xfail_strict=True,
)
def test_sklearn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_names_of_columns_are_checked(kind):
    """One of scikit-learn's checks that `parametrize_with_checks` leaves out."""
    model = MultiTaskEstimator(kind=kind, **SMALL | {"epochs": 2})
    check_dataframe_column_names_consistency("MultiTaskEstimator", model)


def test_kinds_are_told_to_sklearn():
    assert is_regressor(MultiTaskEstimator(kind="regression"))
    assert is_classifier(MultiTaskEstimator(kind="classification"))
    auto = MultiTaskEstimator()
    assert not is_regressor(auto)
    assert not is_classifier(auto)
    named = MultiTaskEstimator(["a"], kind="classification")
    assert not is_classifier(named), "a stratified split needs y, and there is none"
    assert not hasattr(MultiTaskEstimator(kind="regression"), "predict_proba")


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(as_frame=True).frame


def test_cross_val_score_of_a_mixed_frame(diabetes):
    model = MultiTaskEstimator(["target", "sex"], epochs=30, random_state=0, **SMALL)
    scores = cross_val_score(model, diabetes, cv=KFold(3, shuffle=True, random_state=0))
    assert scores.shape == (3,)
    assert np.all(scores > 0.3)


def test_cross_val_score_with_a_metric_of_sklearn(diabetes):
    X, Y = diabetes.drop(columns=["target", "bp"]), diabetes[["target", "bp"]]
    model = MultiTaskEstimator(kind="regression", epochs=30, random_state=0, **SMALL)
    by_metric = cross_val_score(model, X, Y, cv=2, scoring="r2")
    own = cross_val_score(model, X, Y, cv=2)
    assert np.allclose(by_metric, own, rtol=1e-6)
    assert np.all(own > 0.1)


def test_cross_val_predict_of_probabilities(diabetes):
    X, y = diabetes.drop(columns="sex"), np.where(diabetes["sex"] > 0, "f", "m")
    model = MultiTaskEstimator(kind="classification", epochs=10, random_state=0, **SMALL)
    chances = cross_val_predict(model, X, y, cv=2, method="predict_proba")
    assert chances.shape == (442, 2)
    assert np.allclose(chances.sum(1), 1)


def test_grid_search(diabetes):
    model = MultiTaskEstimator("target", epochs=20, random_state=0, **SMALL)
    grid = {"learning_rate": np.array([1e-9, 1e-2]), "width": np.array([8, 16])}
    search = GridSearchCV(model, grid, cv=2, n_jobs=1).fit(diabetes)
    assert search.best_params_["learning_rate"] == 1e-2
    assert search.predict(diabetes.head(2)).shape == (2, 1)


def test_pipeline(diabetes):
    X, Y = diabetes.drop(columns=["target", "sex"]), diabetes[["target", "sex"]]
    model = make_pipeline(StandardScaler(), MultiTaskEstimator(epochs=20, random_state=0, **SMALL))
    assert model.fit(X, Y).score(X, Y) > 0.4
    assert model.predict(X).shape == (442, 2)


def test_clone_is_unfitted_and_equal():
    weights = {"a": 2.0}
    model = MultiTaskEstimator(["a"], config={"seed": 4}, task_weights=weights, **SMALL)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.task_weights is not weights
    frame = pd.DataFrame({"x": np.arange(30) % 7, "a": np.arange(30) % 5 * 1.0})
    model.set_params(epochs=2).fit(frame)
    assert not hasattr(clone(model), "bundle_")
