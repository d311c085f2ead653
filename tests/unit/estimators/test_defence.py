"""Presets through the estimator."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from polytask import MultiTaskEstimator
from polytask.errors import InvalidArgument


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 3))
    return pd.DataFrame(
        {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": x.sum(1), "z": x[:, 0] - x[:, 1]}
    )


def test_a_preset_is_a_parameter_like_others(frame):
    model = MultiTaskEstimator(targets=["y", "z"], defence="linear", random_state=0)
    assert clone(model).get_params()["defence"] == "linear"
    predicted = model.fit(frame).predict(frame)
    assert np.corrcoef(predicted["y"], frame["y"])[0, 1] > 0.99


def test_an_unknown_preset_is_named(frame):
    with pytest.raises(InvalidArgument, match="`defence` must be one of"):
        MultiTaskEstimator(targets=["y"], defence="strnog").fit(frame)
