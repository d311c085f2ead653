"""The encoders equal scikit-learn's where it has them.

| ours | scikit-learn 1.9 |
|---|---|
| gaps filled with the training median | `SimpleImputer(strategy="median")` |
| median and quartiles | `RobustScaler()`, then the smooth clip |
| mean and deviation | `StandardScaler()` |
| one input per level | `OneHotEncoder(handle_unknown="ignore")` |
| flags | `MissingIndicator(features="missing-only")` |
"""

import numpy as np
import pandas
import pytest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import OneHotEncoder, RobustScaler, StandardScaler

from polytask.data import FeatureEncoder, infer_schema

SINGLE = 3e-7  # relative rounding of float32, with some room for the last operation


def numbers(rows, seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(rows, 5)) * [1, 10, 1e-3, 1e5, 1] + [0, 5, 0, 1e6, -3]
    values[generator.random(values.shape) < 0.2] = np.nan
    values[:, 4] = np.where(np.isnan(values[:, 4]), 0.25, values[:, 4])  # one column without gaps
    return pandas.DataFrame(values, columns=list("abcde"))


def encoded(train, test, scaling):
    encoder = FeatureEncoder.fit(train, infer_schema(train).columns, scaling=scaling)
    values = encoder.transform(test)["numeric"].double().numpy()
    flags = [name.endswith("(missing)") for name in encoder.feature_names]
    return values[:, ~np.array(flags)], values[:, flags]


@pytest.mark.parametrize("seed", range(3))
def test_median_imputation(seed):
    train, test = numbers(200, seed), numbers(50, seed + 100)
    values, flags = encoded(train, test, "none")
    expected = SimpleImputer(strategy="median").fit(train).transform(test)
    np.testing.assert_allclose(values, expected, rtol=SINGLE)
    missing = MissingIndicator(features="missing-only").fit(train).transform(test.fillna({"e": 0}))
    np.testing.assert_array_equal(flags, missing)
    mean = SimpleImputer(strategy="mean").fit(train).transform(test)
    assert np.abs(mean - expected).max() > 1e-3  # the mean would not pass


@pytest.mark.parametrize("seed", range(3))
def test_standard_scaler(seed):
    train, test = numbers(200, seed), numbers(50, seed + 100)
    values, _ = encoded(train, test, "standard")
    filled = SimpleImputer(strategy="median").fit(train).transform(test)
    expected = StandardScaler().fit(train.to_numpy()).transform(filled)
    np.testing.assert_allclose(values, expected, rtol=SINGLE, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_robust_scaler_with_smooth_clip(seed):
    train, test = numbers(200, seed), numbers(50, seed + 100)
    values, _ = encoded(train, test, "robust")
    filled = SimpleImputer(strategy="median").fit(train).transform(test)
    scaled = RobustScaler().fit(train.to_numpy()).transform(filled)
    np.testing.assert_allclose(values, scaled / np.sqrt(1 + (scaled / 3) ** 2), atol=2e-6)
    assert np.abs(values - scaled).max() > 1e-2  # without the clip it would not pass


def test_one_hot_encoder():
    generator = np.random.default_rng(0)
    train = pandas.DataFrame({c: generator.choice(list("dbca"), 80) for c in "xy"})
    test = pandas.DataFrame({c: generator.choice(list("dbcaz"), 30) for c in "xy"})
    values, _ = encoded(train, test, "robust")
    expected = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train)
    np.testing.assert_array_equal(values, expected.transform(test))
    assert (values.sum(1) < 2).any()  # there were unseen levels


def test_a_missing_level_is_a_level_of_its_own():
    train = pandas.DataFrame({"x": ["b", None, "a", "b"]})
    encoder = FeatureEncoder.fit(train, infer_schema(train).columns)
    cells = train.astype(object).where(train.notna(), None)
    expected = OneHotEncoder(sparse_output=False).fit_transform(cells)
    np.testing.assert_array_equal(encoder.transform(train)["numeric"].numpy(), expected)
