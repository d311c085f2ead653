"""Stopping rules on hand-made curves."""

import pytest

from polytask.errors import InvalidArgument
from polytask.training.stopping import Mean, NoStopping, Regret


def run(rule, curves, baseline):
    """Feeds epochs until the rule stops; returns the epochs seen."""
    for epoch, losses in enumerate(curves, 1):
        rule.update(list(losses), baseline)
        if rule.stop:
            return epoch
    return None


def test_regret_weighs_tasks_by_their_baseline():
    """Task b has a hundred times the unit of a: the mean follows b alone, the regret does not."""
    curves = [(1.0, 90.0), (0.5, 91.0), (0.6, 89.9)]
    regret, mean = Regret(patience=5), Mean(patience=5)
    run(regret, curves, [1.0, 100.0])
    run(mean, curves, [1.0, 100.0])
    assert regret.best_epoch == 2
    assert mean.best_epoch == 3


def test_regret_never_stops_a_run_in_which_every_task_improves():
    """Against the best so far every such epoch has regret zero: the naive rule would stall."""
    curves = [(1.0 - 0.01 * e, 2.0 - 0.01 * e) for e in range(40)]
    rule = Regret(patience=3)
    assert run(rule, curves, [1.0, 2.0]) is None
    assert rule.best_epoch == 40
    naive = []
    for e in range(1, 41):
        best = [min(c[t] for c in curves[:e]) for t in range(2)]
        naive.append(sum(curves[e - 1][t] - best[t] for t in range(2)))
    assert len(set(naive)) == 1, "the naive regret cannot tell these epochs apart"


def test_order_of_epochs_equals_the_regret_recomputed_with_the_final_best():
    curves = [(0.9, 0.7), (0.8, 0.75), (0.85, 0.6), (0.7, 0.8), (0.95, 0.5)]
    baseline = [1.0, 0.5]
    rule = Regret(patience=10)
    run(rule, curves, baseline)
    best = [min(c[t] for c in curves) for t in range(2)]
    regrets = [sum((c[t] - best[t]) / baseline[t] for t in range(2)) / 2 for c in curves]
    order = sorted(range(5), key=regrets.__getitem__)
    assert order == sorted(range(5), key=rule.scores.__getitem__)
    assert rule.best_epoch == regrets.index(min(regrets)) + 1


def test_ties_take_the_last():
    rule = Mean(patience=4)
    run(rule, [(1.0,), (0.5,), (0.5,), (0.6,)], [1.0])
    assert rule.best_epoch == 3
    assert rule.stalled == 1


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_patience_counts_epochs_since_the_best(patience):
    curves = [(1.0,), (0.5,)] + [(0.6,)] * 10
    assert run(Mean(patience), curves, [1.0]) == 2 + patience


def test_a_task_without_validation_labels_has_no_vote():
    rule = Regret(patience=2)
    stopped = run(rule, [(0.5, None), (0.6, None), (0.7, None)], [1.0, None])
    assert stopped == 3
    assert rule.best_epoch == 1


def test_a_solved_task_does_not_decide_alone():
    """Dividing by the best loss would make 1e-9 against 2e-9 a regret of one."""
    curves = [(1e-9, 0.9), (2e-9, 0.5)]
    rule = Regret(patience=5)
    run(rule, curves, [1.0, 1.0])
    assert rule.best_epoch == 2
    by_best = [c[0] / 1e-9 - 1 + c[1] / 0.5 - 1 for c in curves]
    assert by_best[0] < by_best[1], "the mutation chooses the other epoch"


def test_no_stopping_keeps_the_last_epoch():
    rule = NoStopping()
    assert run(rule, [(1.0,), (2.0,), (3.0,)], [1.0]) is None
    assert rule.best_epoch == 3


def test_state_round_trip():
    curves = [(1.0,), (0.5,), (0.6,), (0.7,)]
    whole, first = Mean(2), Mean(2)
    run(whole, curves, [1.0])
    run(first, curves[:2], [1.0])
    second = Mean(2)
    second.load_state_dict(first.state_dict())
    run(second, curves[2:], [1.0])
    assert (second.best_epoch, second.stop) == (whole.best_epoch, whole.stop) == (2, True)


def test_patience_must_be_positive():
    with pytest.raises(InvalidArgument, match="`patience` must be at least 1; got 0"):
        Regret(patience=0)
