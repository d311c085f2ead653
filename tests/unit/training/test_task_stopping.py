"""Rules that follow every task by itself, on hand-made curves."""

import json

import pytest

from polytask.errors import InvalidArgument
from polytask.training.task_stopping import AllTasks, AnyTask, Distil, FreezeHead

RULES = [AnyTask, AllTasks, FreezeHead, Distil]
FALLING = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
TURNING = [0.9, 0.8, 0.85, 0.86, 0.87, 0.88]


def run(rule, *curves):
    """Feeds the curves epoch by epoch; the epoch after which the rule stops, 0 if never."""
    for epoch, losses in enumerate(zip(*curves, strict=True), 1):
        rule.update(losses, [1.0] * len(curves))
        if rule.stop:
            return epoch
    return 0


@pytest.mark.parametrize(
    ("rule", "stops"), [(AnyTask, 4), (AllTasks, 0), (FreezeHead, 0), (Distil, 0)]
)
def test_one_task_stalls_while_the_other_learns(rule, stops):
    made = rule(patience=2)
    assert run(made, FALLING, TURNING) == stops
    assert made.settled == (False, True)


@pytest.mark.parametrize("rule", RULES)
def test_all_stop_when_every_task_has_stalled(rule):
    assert run(rule(patience=2), TURNING, TURNING) == 4


@pytest.mark.parametrize("rule", RULES)
def test_a_tie_counts_as_better(rule):
    made = rule(patience=2)
    assert run(made, [0.5] * 8) == 0
    assert made.settled == (False,)
    assert made.best_epoch == 8


def test_a_settled_task_stays_settled_even_if_it_improves_again():
    rule = AllTasks(patience=1)
    run(rule, [0.5, 0.6, 0.1, 0.05], FALLING[:4])
    assert rule.settled == (True, False)


@pytest.mark.parametrize("rule", RULES)
def test_a_task_without_validation_labels_has_no_vote(rule):
    made = rule(patience=2)
    assert run(made, TURNING, [None] * 6) == 4
    assert made.settled == (True, False)


@pytest.mark.parametrize("rule", RULES)
def test_without_any_label_nothing_stops(rule):
    assert run(rule(patience=1), [None] * 6, [None] * 6) == 0


@pytest.mark.parametrize("rule", RULES)
def test_the_best_epoch_is_the_best_compromise(rule):
    made = rule(patience=9)
    run(made, [0.9, 0.5, 0.6, 0.7], [0.9, 0.8, 0.75, 0.75])
    assert made.best_epoch == 2


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_goes_on_from_its_state(rule):
    whole, first, second = rule(patience=2), rule(patience=2), rule(patience=2)
    stopped = run(whole, FALLING, TURNING)
    run(first, FALLING[:3], TURNING[:3])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = run(second, FALLING[3:], TURNING[3:])
    assert (rest + 3 if rest else 0) == stopped
    assert second.settled == whole.settled
    assert second.state_dict() == whole.state_dict()


def test_patience_is_checked():
    with pytest.raises(InvalidArgument, match="`patience` must be at least 1"):
        AllTasks(patience=0)
