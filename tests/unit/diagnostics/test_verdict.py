"""Rules of the verdicts on curves and losses made for them; trainings are in tests/integration."""

import numpy as np
import pytest

from polytask.diagnostics.standard_error import RowLosses, mean_and_error, paired_gain
from polytask.diagnostics.trajectory import describe_trajectory, read_curve, still_falling, unrest
from polytask.diagnostics.verdict import Evidence, judge_task

RUNS = 20


def history(valid, train, kept, stopped="patience"):
    epochs = [{"valid": [v], "train": [t]} for v, t in zip(valid, train, strict=True)]
    return {"tasks": ["y"], "epochs": epochs, "best_epoch": kept, "stopped": stopped}


def rows(mean, seed=0, n=400, spread=0.5):
    noise = np.random.default_rng(seed).normal(size=n)
    return RowLosses(mean + spread * (noise - noise.mean()), np.ones(n), np.arange(n))


def judged(valid, train, kept, stopped="patience", **evidence):
    curve = read_curve(history(valid, train, kept, stopped), 0)
    evidence.setdefault("valid", rows(valid[kept - 1]))
    evidence.setdefault("train", rows(train[kept - 1], seed=1))
    return judge_task("y", curve, Evidence(**evidence))


def overfitting(seed, epochs=40):
    rng = np.random.default_rng(seed)
    e = np.arange(1, epochs + 1)
    valid = 1 - 0.5 * (1 - np.exp(-e / 4)) + 0.02 * np.maximum(e - 12, 0)
    return (valid + 0.005 * rng.normal(size=epochs)).tolist(), np.exp(-e / 8).tolist()


def learning(seed, epochs=40, floor=0.5):
    rng = np.random.default_rng(seed)
    e = np.arange(1, epochs + 1)
    valid = floor + 0.5 * np.exp(-e / 5) + 0.005 * rng.normal(size=epochs)
    return valid.tolist(), (0.9 * floor * (1 + np.exp(-e / 5) - 0.002 * e)).tolist()


def test_kept_weights_are_judged_not_the_run():
    """The same twenty runs: the last weights overfit, the restored ones do not."""
    last, restored = [], []
    for seed in range(RUNS):
        valid, train = overfitting(seed)
        last.append(judged(valid, train, len(valid)).word)
        best = int(np.argmin(valid)) + 1
        verdict = judged(valid, train, best, linear=rows(1.0, seed=2))
        restored.append(verdict.word)
        assert f"stopped in time at epoch {best}" in verdict.trajectory
    assert last.count("overfits") == RUNS
    assert restored.count("ok") == RUNS


def test_the_rule_on_the_last_epoch_would_call_restored_weights_overfitted():
    """The mutant: it looks at the end of the run instead of the kept epoch."""

    def mutant(valid, train):
        error = 0.5 / 20
        return valid[-1] - min(valid) > max(error, 0.02 * min(valid)) and train[-1] < train[0]

    assert sum(mutant(*overfitting(seed)) for seed in range(RUNS)) == RUNS


def test_a_gap_alone_is_no_verdict():
    for seed in range(RUNS):
        valid, train = learning(seed)
        verdict = judged(valid, [0.01 * t for t in train], 40, linear=rows(1.0, seed=2))
        assert verdict.numbers.gap > 0.9
        assert (verdict.word, verdict.also) == ("ok", ())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "underfits"),
        ({"linear": 0.7}, "ok"),  # a gain over the linear model
        ({"gap": 0.5}, "ok"),  # a large gap
        ({"tried": True}, "ok"),  # a later epoch fitted better, and it did not help
        ({"linear": None}, "ok"),  # nothing to compare with, and the loss is flat
        ({"linear": None, "falling": True}, "underfits"),
    ],
)
def test_underfits_needs_a_small_gap_and_no_gain(change, word):
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        trend = np.linspace(0.15, 0, 30) if change.get("falling") else np.zeros(30)
        valid = 0.5 + trend + 0.001 * rng.normal(size=30)
        train = 0.49 * (1 - change.get("gap", 0.0)) + trend
        if change.get("tried"):
            train[-8:] -= 0.1
        linear = change.get("linear", 0.5)
        verdict = judged(
            valid.tolist(),
            train.tolist(),
            20 if change.get("tried") else 30,
            "epochs" if change.get("falling") else "patience",
            linear=None if linear is None else rows(linear, seed=2),
            linear_train=None if linear is None else rows(linear, seed=3),
        )
        assert verdict.word == word, verdict.sentence


def test_worse_than_the_average_after_learning_the_rows_by_heart():
    flat = [1.4] * 12
    evidence = {"mean": rows(1.0, seed=2), "mean_train": rows(1.0, seed=3)}
    assert judged(flat, [0.1] * 12, 12, **evidence).word == "overfits"
    # The training rows are not learnt either: something else is wrong, but nothing is overfitted.
    assert judged(flat, [1.3] * 12, 12, **evidence).word != "overfits"


def test_unstable_curves():
    calm, wild = [], []
    for seed in range(RUNS):
        noise = np.random.default_rng(seed).normal(size=40)
        valid, train = learning(seed)
        calm.append(judged(valid, train, 40, linear=rows(1.0)).word)
        shaken = (np.array(valid) + 0.2 * noise).tolist()
        wild.append("unstable" in (v := judged(shaken, train, 40)).also or v.word == "unstable")
    assert calm.count("unstable") == 0
    assert sum(wild) >= RUNS - 2


def test_a_steep_fall_is_not_unrest():
    """The mutant, the plain deviation of the last ten losses, calls every short run unstable."""
    steep = [2.0 * 0.7**e + 0.1 for e in range(10)]
    error = 0.5 / 20
    assert unrest(steep) < 3 * error < np.std(steep)


def test_unrest_is_the_deviation_of_noise_around_a_line():
    rng = np.random.default_rng(0)
    values = [unrest(0.1 * np.arange(10) + rng.normal(size=10)) ** 2 for _ in range(4000)]
    assert np.mean(values) == pytest.approx(1.0, abs=0.05)


def test_too_few_rows_silences_everything_else():
    valid, train = overfitting(0)
    verdict = judged(valid, train, 40, too_few="20 labels, 30 needed")
    assert (verdict.word, verdict.also) == ("too few rows", ())
    assert "20 labels, 30 needed" in verdict.sentence


def test_precedence_shows_all_that_hold():
    valid, train = overfitting(0)
    shaken = np.array(valid) + 0.3 * np.random.default_rng(1).normal(size=40)
    shaken[-1] = 1.5
    verdict = judged(shaken.tolist(), train, 40)
    assert (verdict.word, verdict.also) == ("overfits", ("unstable",))


def test_a_compromise_before_the_own_best_epoch_is_not_overfitting():
    valid, train = learning(0)
    verdict = judged(valid, train, 3, linear=rows(1.0))
    assert "overfits" not in (verdict.word, *verdict.also)
    assert "gained" in verdict.trajectory


@pytest.mark.parametrize(
    ("valid", "kept", "stopped", "words"),
    [
        ([1 - 0.03 * e for e in range(20)], 20, "epochs", "still improving"),
        ([0.5] * 20, 10, "patience", "flat after epoch 10"),
        ([0.9, 0.5, 0.6, 0.7, 0.8], 2, "patience", "stopped in time at epoch 2"),
        ([0.9, 0.5, 0.6, 0.7, 0.8], 5, "epochs", "went on after its best epoch 2"),
        ([0.9], 1, "epochs", "one epoch"),
    ],
)
def test_trajectories(valid, kept, stopped, words):
    curve = read_curve(history(valid, valid, kept, stopped), 0)
    assert words in describe_trajectory(curve, 0.02)


def test_epochs_that_were_not_measured_are_left_out():
    curve = read_curve(history([0.9, None, 0.7], [0.9, 0.8, 0.7], 3), 0)
    assert (curve.epochs, curve.gaps) == ((1, 3), 1)
    assert read_curve(history([None], [None], 1), 0) is None


def test_standard_error_against_repeated_samples():
    """The spread of weighted means over many samples; s / sqrt(n) is wrong under weights."""
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 1, 60) ** 3
    draws = rng.normal(size=(4000, 60))
    truth = (draws @ weights / weights.sum()).std()
    errors = [mean_and_error(draw, weights)[1] for draw in draws[:800]]
    naive = np.mean([draw.std() / 60**0.5 for draw in draws[:800]])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(truth, rel=0.05)
    assert naive != pytest.approx(truth, rel=0.05)


def test_pairing_removes_what_is_common():
    hard_rows = rows(1.0, spread=2.0)
    better = hard_rows._replace(losses=hard_rows.losses - 0.05)
    gain, error = paired_gain(better, hard_rows)
    assert gain == pytest.approx(0.05)
    assert error < 1e-9 < mean_and_error(hard_rows.losses, hard_rows.weights)[1]


def test_still_falling_needs_more_than_noise():
    rng = np.random.default_rng(0)
    flat = [still_falling((0.5 + 0.02 * rng.normal(size=30)).tolist()) for _ in range(200)]
    assert np.mean(flat) < 0.08
