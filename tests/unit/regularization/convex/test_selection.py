"""Strengths and forms are chosen on rows that were not seen."""

import numpy as np
import pytest

from polytask.regularization.convex import (
    L21,
    DataTerm,
    Family,
    MeanRegularised,
    Problem,
    Ridge,
    Scores,
    cross_validate,
    selected_features,
    solve,
    strengths,
)
from polytask.regularization.convex.exact import ClosedForm
from polytask.regularization.convex.family_choice import choose
from polytask.regularization.convex.folds import make_folds
from polytask.regularization.convex.standardise import Standardisation


def sparse(rows: int = 80, features: int = 30, used: int = 2) -> Problem:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(rows, features))
    truth = random.normal(size=(features, 4)) * (np.arange(features) < used)[:, None]
    return Problem.wide(inputs, inputs @ truth + random.normal(size=(rows, 4)))


def test_the_one_standard_error_rule():
    folds = np.array([[0.9, 0.62, 0.60, 0.5, 0.7], [0.9, 0.54, 0.56, 0.6, 0.7]])
    # Means 0.9, 0.58, 0.58, 0.55, 0.7; the error of the best is 0.05.
    scores = Scores((5.0, 4.0, 3.0, 2.0, 1.0), folds[:, :, None] / 2, np.ones(1))
    assert np.allclose(scores.means, [0.9, 0.58, 0.58, 0.55, 0.7])
    assert scores.errors[3] == pytest.approx(0.05)
    assert scores.chosen("best") == 3
    assert scores.chosen("one-standard-error") == 1
    # The mutants: the smallest λ within the error, and the deviation in place of the error.
    assert np.flatnonzero(scores.means <= 0.55 + 0.05)[-1] != 1
    wide = Scores((5.0, 4.0), np.array([[[0.31], [0.2]], [[0.31], [0.3]]]), np.ones(1))
    assert wide.chosen("one-standard-error") == 1
    assert wide.means[0] <= wide.means[1] + wide.folds.std(0, ddof=1)[1]


def test_the_rule_never_takes_a_weaker_penalty():
    own = sparse()
    grid = strengths(own, L21(0.0), count=12)
    scores = cross_validate(own, L21(0.0), grid)
    assert scores.chosen("one-standard-error") <= scores.chosen("best")
    assert scores.means[0] > scores.means[scores.chosen("best")]


def test_inputs_are_standardised_inside_every_fold(monkeypatch):
    seen = []
    real = Standardisation.fit.__func__

    def spy(cls, inputs, alone=None):
        seen.append(len(inputs))
        return real(cls, inputs, alone)

    monkeypatch.setattr(Standardisation, "fit", classmethod(spy))
    cross_validate(sparse(), Ridge(0.0), [1.0], folds=5)
    assert seen == [64] * 5


def test_standardising_is_undone():
    own = sparse()
    scaling = Standardisation.fit(own.inputs * 7 + 3)
    moved = Problem(own.inputs * 7 + 3, own.targets, own.weights, own.families)
    inner = solve(scaling.apply(moved), Ridge(0.1))
    outer = scaling.undo(inner)
    assert np.allclose(
        outer.predict(moved.inputs), inner.predict(scaling.apply(moved).inputs), atol=1e-10
    )


def test_every_task_is_in_every_fold():
    random = np.random.default_rng(0)
    own = Problem.separate(
        [random.normal(size=(rows, 2)) for rows in (10, 25, 15)],
        [random.normal(size=rows) for rows in (10, 25, 15)],
    )
    folds = make_folds(own, 5, 3)
    for task in range(3):
        counts = np.bincount(folds[own.weights[:, task] > 0], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_a_lonely_label_is_always_trained_on():
    targets = np.full((20, 2), np.nan)
    targets[:, 0] = np.arange(20)
    targets[4, 1] = 1.0
    own = Problem.wide(np.random.default_rng(0).normal(size=(20, 2)), targets)
    assert make_folds(own, 4, 0)[4] == -1
    assert choose(own, [Ridge(0.0)], folds=4).candidates[0].score > 0


def test_few_common_features_choose_joint_selection():
    found = choose(sparse(), [Ridge(0.0), MeanRegularised(0.0, 0.01), L21(0.0)])
    assert found.chosen == "l21"
    assert (found.solution.weights[2:] == 0).all(1).sum() > 10
    ridge, _, joint = found.candidates
    assert joint.score < ridge.score
    assert joint.better_by > 1


def test_the_simpler_form_wins_a_tie():
    random = np.random.default_rng(4)
    inputs = random.normal(size=(60, 5))
    own = Problem.wide(inputs, inputs @ random.normal(size=(5, 3)) + random.normal(size=(60, 3)))
    found = choose(own, [Ridge(0.0), L21(0.0)])
    assert found.chosen == "ridge"


def test_similar_tasks_choose_their_mean():
    random = np.random.default_rng(5)
    mean = random.normal(size=8)
    inputs = [random.normal(size=(12, 8)) for _ in range(15)]
    targets = [x @ (mean + 0.1 * random.normal(size=8)) + random.normal(size=12) for x in inputs]
    found = choose(
        Problem.separate(inputs, targets),
        [Ridge(0.0), MeanRegularised(0.0, 0.01)],
        separate_strengths=False,
    )
    assert found.chosen == "mean-regularised"


def test_same_seed_same_choice():
    first, second = (choose(sparse(), [Ridge(0.0), L21(0.0)], seed=3) for _ in range(2))
    assert np.array_equal(first.solution.weights, second.solution.weights)
    assert first.candidates == second.candidates


def test_mixed_losses():
    random = np.random.default_rng(6)
    inputs = random.normal(size=(90, 4))
    signal = inputs @ random.normal(size=(4, 2))
    hot = np.eye(3)[np.digitize(signal[:, 1], [-0.7, 0.7])]
    targets = np.column_stack([signal[:, 0], signal[:, 0] > 0, hot])
    families = (Family("squared", (0,)), Family("logistic", (1,)), Family("multinomial", (2, 3, 4)))
    own = Problem(inputs, targets, np.full(targets.shape, 1 / 90), families)
    found = choose(own, [Ridge(0.0), L21(0.0)], count=8)
    assert found.candidates[0].score < 0.5
    outputs = found.solution.predict(inputs)
    assert ((outputs[:, 1] > 0) == (targets[:, 1] > 0)).mean() > 0.9
    assert (outputs[:, 2:].argmax(1) == hot.argmax(1)).mean() > 0.8


def test_progress_counts_every_strength():
    seen = []
    choose(sparse(), [Ridge(0.0), L21(0.0)], count=4, progress=lambda i, n: seen.append((i, n)))
    assert seen[-1][1] == 8
    assert [i for i, _ in seen] == sorted(i for i, _ in seen)


def test_a_tiny_weight_is_a_used_feature():
    rows = selected_features(np.array([[1e-30, 0.0], [0.0, 0.0]]), ["a", "b"], ["s", "t"])
    assert rows[0].tasks == ("s",)
    assert rows[1].tasks == ()


def test_leave_one_out_is_that_of_refitted_models():
    own = sparse(20, 6)
    strength = 0.3
    found = ClosedForm(DataTerm(own)).leave_one_out([strength])[0]
    slow = np.zeros(4)
    for row in range(20):
        kept = np.delete(np.arange(20), row)
        # Row weights stay as they were: λ keeps its meaning.
        part = Problem(own.inputs[kept], own.targets[kept], own.weights[kept], own.families)
        error = solve(part, Ridge(strength)).predict(own.inputs[[row]]) - own.targets[[row]]
        slow += 0.5 * error[0] ** 2 / 20
    assert np.allclose(found, slow, rtol=1e-9)
    fitted = solve(own, Ridge(strength)).data_term
    assert not np.isclose(found.sum(), fitted, rtol=1e-2)


def test_the_strength_of_some_rows_is_moved_to_all():
    own = sparse(400)
    some = choose(own, [Ridge(0.0)], rows_of_choice=100, separate_strengths=False)
    part = Problem.wide(own.inputs, own.targets)
    rows = np.sort(np.random.default_rng(0).choice(400, 100, replace=False))
    alone = choose(part.take(rows), [Ridge(0.0)], separate_strengths=False)
    (moved,), (plain,) = some.candidates[0].strengths, alone.candidates[0].strengths
    assert moved == pytest.approx(plain / 4)
    used = solve(Standardisation.fit(own.inputs).apply(own), Ridge(moved))
    assert np.allclose(used.predict(Standardisation.fit(own.inputs).inputs(own.inputs)),
                       some.solution.predict(own.inputs), atol=1e-8)  # fmt: skip
