"""How tasks share the update, through the estimator."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from polytask import MultiTaskEstimator
from polytask.errors import UnknownName

NETWORK = {"width": 8, "depth": 1, "epochs": 3, "random_state": 0}


@pytest.fixture
def frame():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(80, 3))
    return pd.DataFrame(
        {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": x.sum(1), "z": x[:, 0] - x[:, 1]}
    )


@pytest.mark.parametrize(
    "balance", ["upgrad", "uncertainty", "performance", {"name": "mgda", "every": 3}]
)
def test_a_method_is_a_parameter_like_others(frame, balance):
    model = clone(MultiTaskEstimator(targets=["y", "z"], balance=balance, **NETWORK))
    plain = MultiTaskEstimator(targets=["y", "z"], **NETWORK).fit(frame).predict(frame)
    predicted = model.fit(frame).predict(frame)
    assert np.isfinite(predicted.to_numpy()).all()
    assert not np.allclose(predicted, plain)
    again = clone(model).fit(frame).predict(frame)
    assert np.array_equal(predicted, again)


def test_an_unknown_method_is_named(frame):
    with pytest.raises(UnknownName, match="Did you mean 'upgrad'"):
        MultiTaskEstimator(targets=["y"], balance="upgrd").fit(frame)
