import numpy as np
import pytest
import torch

from polytask.errors import DataError, InvalidArgument
from polytask.tasks import Regression, group_tasks

CELLS = np.array([10.0, 20.0, 60.0, np.nan])


def test_standardises_with_weights_as_scikit_learn():
    from sklearn.preprocessing import StandardScaler

    weights = np.array([1.0, 2.0, 0.5, 7.0])
    task = Regression("t").fit(CELLS, weights)
    scaler = StandardScaler().fit(CELLS[:3, None], sample_weight=weights[:3])
    assert task.center == pytest.approx(scaler.mean_[0], rel=1e-12)
    assert task.scale == pytest.approx(scaler.scale_[0], rel=1e-12)
    unweighted = Regression("t").fit(CELLS)
    assert unweighted.scale == pytest.approx(np.nanstd(CELLS), rel=1e-12)
    assert unweighted.scale != pytest.approx(np.nanstd(CELLS, ddof=1))


def test_given_scale_is_used_and_state_keeps_it():
    task = Regression("t", center=1.0, scale=4.0).fit(CELLS)
    assert (task.center, task.scale) == (1.0, 4.0)
    assert task.encode(np.array([9.0]))[0].item() == 2.0
    assert task.constant == pytest.approx((30 - 1) / 4)


def test_constant_target_keeps_its_unit():
    task = Regression("t").fit(np.array([7.0, 7.0]))
    assert (task.center, task.scale) == (7.0, 1.0)
    assert task.predict(torch.zeros(1, 1))[""].tolist() == [7.0]


def test_predictions_are_float64_in_the_users_unit():
    task = Regression("t").fit(np.array([1e9, 1e9 + 2]))
    values = task.predict(torch.tensor([[1.0], [-1.0]]))[""]
    assert values.dtype == np.float64
    assert values.tolist() == [1e9 + 2, 1e9]


@pytest.mark.parametrize(
    ("loss", "expected"), [("squared", 9.0), ("absolute", 3.0), ("huber", 0.5 * (3 - 0.25))]
)
def test_losses_by_hand(loss, expected):
    spec = Regression("t", loss=loss, delta=0.5, center=0.0, scale=1.0)
    task = spec.fit(CELLS)
    assert task.loss(torch.tensor([[4.0]]), torch.tensor([1.0])).item() == pytest.approx(expected)


def test_huber_delta_counts_in_deviations():
    wide = Regression("t", loss="huber", delta=0.5).fit(CELLS)
    stretched = Regression("t", loss="huber", delta=0.5).fit(CELLS * 1000)
    output = torch.tensor([[0.3], [2.0], [-1.0]])
    for task, cells in ((wide, CELLS), (stretched, CELLS * 1000)):
        assert torch.allclose(
            task.loss(output, task.encode(cells)[0][:3]),
            wide.loss(output, wide.encode(CELLS)[0][:3]),
        )


def test_tasks_of_other_units_fuse_but_other_losses_do_not():
    tasks = [
        Regression("a").fit(CELLS),
        Regression("b").fit(CELLS * 100 + 3),
        Regression("c", loss="huber").fit(CELLS),
        Regression("d", loss="huber", delta=2.0).fit(CELLS),
        Regression("e", delta=2.0).fit(CELLS),  # delta means nothing for the squared loss
    ]
    assert [group.indices for group in group_tasks(tasks)] == [(0, 1, 4), (2,), (3,)]


def test_text_is_refused_with_an_example():
    with pytest.raises(DataError, match=r"Target 't' cannot be a regression target: 'tall' is not"):
        Regression("t").fit(np.array(["1.5", "tall"], dtype=object))
    assert Regression("t").fit(np.array(["1.5", "2.5"], dtype=object)).center == 2.0


@pytest.mark.parametrize("cells", [[1.0, np.inf], ["1", "-inf"]])
def test_infinite_values_are_refused_in_fit_and_encode(cells):
    with pytest.raises(DataError, match="Target 't' has 1 infinite value;"):
        Regression("t").fit(np.array(cells, dtype=object))
    with pytest.raises(DataError, match="infinite"):
        Regression("t").fit(CELLS).encode(np.array(cells, dtype=object))


def test_values_too_large_for_arithmetic_are_refused():
    with pytest.raises(DataError, match="too large"):
        Regression("t").fit(np.array([1e308, 1.5e308, 1.5e308]))
    large = Regression("t").fit(np.array([1e200, -1e200]))
    assert large.scale == pytest.approx(1e200)


def test_options_are_checked():
    with pytest.raises(InvalidArgument, match=r"delta of target 't'"):
        Regression("t", delta=0.0)
    with pytest.raises(InvalidArgument, match=r"scale of target 't'"):
        Regression("t", scale=-1.0)
    with pytest.raises(ValueError, match=r"Did you mean 'absolute'"):
        Regression("t", loss="absolut")


def test_metrics_are_in_the_users_unit():
    task = Regression("t").fit(CELLS)
    target, mask = task.encode(CELLS)
    off = target[:, None] + 3.0 / task.scale  # three units too high
    metrics = task.metrics()
    assert metrics["rmse"].compute(off, target, mask, None) == pytest.approx(3.0, rel=1e-5)
    assert metrics["mae"].unit == "target"
    assert next(iter(metrics)) == "rmse"
