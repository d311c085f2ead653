"""Relative regret per task and epoch."""

import pytest

from polytask.diagnostics import regret_matrix
from polytask.diagnostics.regret import MAX_EPOCHS


def history_of(losses, baseline, best_epoch=1):
    epochs = [{"epoch": e, "valid": list(row)} for e, row in enumerate(losses, 1)]
    names = [f"t{i}" for i in range(len(baseline))]
    return {"tasks": names, "epochs": epochs, "baseline": baseline, "best_epoch": best_epoch}


def test_every_task_is_zero_at_its_own_best_and_the_baseline_is_the_unit():
    found = regret_matrix(history_of([(4.0, 0.3), (2.0, 0.1), (3.0, 0.2)], [10.0, 0.5], 3))
    assert found.values == ((0.2, 0.0, 0.1), (0.4, 0.0, 0.2))
    assert found.own == (2, 2)
    assert found.kept == 3
    assert found.at_kept == (0.1, 0.2)
    assert found.mean == pytest.approx((0.3, 0.0, 0.15))


def test_a_solved_task_does_not_decide_alone():
    """The mutant divides by L*, which is near 0 for a solved task."""
    losses = [(0.5, 1e-6), (0.4, 3e-6)]
    found = regret_matrix(history_of(losses, [1.0, 1.0]))
    assert max(found.values[1]) < 0.01 < max(found.values[0])
    mutant = max((loss[1] - 1e-6) / 1e-6 for loss in losses)
    assert mutant > 1


def test_a_negative_loss_has_a_positive_regret():
    found = regret_matrix(history_of([(-1.0,), (-3.0,)], [-2.0]))
    assert found.values == ((1.0, 0.0),)


def test_ties_take_the_last_epoch():
    assert regret_matrix(history_of([(1.0,), (2.0,), (1.0,)], [1.0])).own == (3,)


def test_holes_stay_holes():
    losses = [(1.0, None, None), (None, None, 2.0)]
    found = regret_matrix(history_of(losses, [1.0, 1.0, None]))
    assert found.values == ((0.0, None), (None, None), (None, None))
    assert found.own == (1, 0, 0)
    assert found.mean == (0.0, None)


def test_nothing_measured_is_none():
    assert regret_matrix({}) is None
    assert regret_matrix(history_of([(None,)], [1.0])) is None
    assert regret_matrix({**history_of([(1.0,)], [1.0]), "baseline": []}) is None


def test_long_runs_are_thinned_and_keep_their_ends_and_the_kept_epoch():
    losses = [(1.0 + abs(e - 777) / 1000,) for e in range(1, 2001)]
    found = regret_matrix(history_of(losses, [1.0], best_epoch=777))
    assert len(found.epochs) <= MAX_EPOCHS + 1
    assert {1, 777, 2000} <= set(found.epochs)
    assert found.own == (777,)
    assert len(found.values[0]) == len(found.epochs) == len(found.mean)
