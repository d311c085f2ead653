"""The loop: weights and rates over a run, best weights, seeds, callbacks."""

import math
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balancing import FixedWeights, LossBalancer, ScheduledWeights
from polytask.errors import InvalidArgument, Unsupported
from polytask.optim import OptimizerSpec, Plateau, constant, cosine, linear, piecewise, warmed_up
from polytask.training import Callback, Mean, Regret

HALF, REST = slice(0, 64), slice(64, 96)


@pytest.fixture
def problem(make_problem):
    return make_problem(rows=96)


def fit(problem, model=None, *, valid=True, seed=0, **options):
    model = model or problem.model(seed)
    options = {"epochs": 4} | options
    train = problem.batches(HALF, seed=seed)
    history = problem.trainer(model, seed=seed, **options).fit(
        train, problem.batches(REST) if valid else None
    )
    return model, history


# ── weights and rates over a run ────────────────────────────────────────────────────────────


def test_fixed_weights_are_in_the_history(make_problem):
    _, history = fit(make_problem(rows=96, gaps=0.0), balance=FixedWeights([1.0, 3.0]))
    for record in history.epochs:
        assert record.weights == pytest.approx([0.25, 0.75], rel=1e-6)


def test_weights_in_steps_and_ramps(make_problem):
    """Eight updates an epoch: the recorded weight is the mean over u of w(e − 1 + u/8)."""
    steps, ramp = piecewise([(0, 1.0), (2, 3.0)]), linear([(0, 0.0), (3, 3.0)])
    balance = ScheduledWeights([steps, ramp])
    _, history = fit(make_problem(rows=96, gaps=0.0), balance=balance, epochs=5)
    for record in history.epochs:
        places = [record.epoch - 1 + u / 8 for u in range(8)]
        pairs = [(steps(place), ramp(place)) for place in places]
        expected = [sum(p[k] / sum(p) for p in pairs) / 8 for k in (0, 1)]
        assert record.weights == pytest.approx(expected, rel=1e-5)
    assert history.epochs[4].weights == pytest.approx([0.5, 0.5])
    assert history.epochs[0].weights[1] < 0.3


def test_warm_up_and_cosine_are_functions_of_the_run(problem):
    schedule = warmed_up(cosine(), 0.25)
    seen = []

    def watched(fraction):
        seen.append(fraction)
        return schedule(fraction)

    _, history = fit(
        problem, optimizer=OptimizerSpec(learning_rate=0.01), schedule=watched, epochs=4
    )
    assert seen == [(i + 0.5) / 32 for i in range(32)], "the middle of each update"
    assert [r.learning_rate for r in history.epochs] == pytest.approx(
        [0.01 * schedule((i + 0.5) / 32) for i in (7, 15, 23, 31)]
    )
    assert all(schedule(fraction) > 0 for fraction in seen), "no update is wasted"


def test_plateau_lowers_the_rate(make_problem):
    """A validation loss that cannot fall: patience 2 halves the rate after epochs 3, 5 and 7."""
    problem = make_problem(rows=96)
    frozen = problem.model()
    spec = OptimizerSpec("sgd", learning_rate=1e-30, momentum=0.0)
    plateau = Plateau(factor=0.5, patience=2)
    _, history = fit(problem, frozen, optimizer=spec, plateau=plateau, epochs=8)
    factors = [r.learning_rate / 1e-30 for r in history.epochs]
    assert factors == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125])


def test_plateau_needs_validation_rows(problem):
    with pytest.raises(InvalidArgument, match="`plateau` must have validation rows"):
        fit(problem, valid=False, plateau=Plateau())


def test_no_decay_on_biases_norms_and_missing_rows(make_problem):
    """The decoupled decay of one AdamW step is −ηλw exactly on weights and embeddings."""
    from polytask import MultiTaskModel
    from polytask.backbones import MLP
    from polytask.data import Batch, ResidentBatches
    from polytask.training import RandomScope

    problem = make_problem(rows=32, gaps=0.0)
    categories = torch.arange(32)[:, None] % 12
    inputs = {"numeric": problem.table.inputs, "categories": categories}
    table = Batch(inputs, *problem.table[1:])

    def after(decay: float) -> tuple[dict, dict]:
        with RandomScope(0):
            backbone = MLP(3, [12], width=8, depth=1, dropout=0.0, normalization="batch")
            model = MultiTaskModel.hard(backbone, problem.tasks)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        spec = OptimizerSpec(learning_rate=0.1, weight_decay=decay)
        problem.trainer(model, optimizer=spec, epochs=1).fit(
            ResidentBatches(table, batch_size=32, shuffle=False)
        )
        return start, {name: p.detach().clone() for name, p in model.named_parameters()}

    start, without = after(0.0)
    _, decayed = after(0.5)
    shrunk = {name for name in start if not torch.equal(without[name], decayed[name])}
    assert shrunk == {
        "backbone.input.weight",
        "backbone.layers.0.weight",
        "heads.stacks.0.weight",
        "heads.stacks.1.weight",
    }
    assert {
        "backbone.input.missing",
        "backbone.layers.0.bias",
        "backbone.layers.1.norm.weight",
    } <= set(start)
    for name in shrunk:
        torch.testing.assert_close(
            decayed[name] - without[name], -0.1 * 0.5 * start[name], rtol=1e-4, atol=1e-6
        )


# ── best weights ────────────────────────────────────────────────────────────────────────────


class Snapshots(Callback):
    """Weights after every epoch."""

    def __init__(self, model):
        self.model = model
        self.weights = []
        self.at_end = None

    def epoch(self, view):
        self.weights.append({n: v.clone() for n, v in self.model.state_dict().items()})

    def end(self, history):
        self.at_end = {n: v.clone() for n, v in self.model.state_dict().items()}


def test_the_weights_of_the_best_epoch_come_back(problem, equal):
    model = problem.model()
    watch = Snapshots(model)
    spec = OptimizerSpec(learning_rate=0.3)
    _, history = fit(
        problem, model, optimizer=spec, epochs=30, stopping=Regret(patience=3), callbacks=[watch]
    )
    assert history.stopped == "patience"
    assert 1 <= history.best_epoch == len(history.epochs) - 3
    assert equal(model.state_dict(), watch.weights[history.best_epoch - 1])
    assert equal(watch.at_end, model.state_dict()), "restored before the last hook"
    assert not equal(model.state_dict(), watch.weights[-1])


def test_best_epochs_per_task(problem):
    _, history = fit(problem, optimizer=OptimizerSpec(learning_rate=0.3), epochs=12)
    for index, best in enumerate(history.best_epochs):
        losses = [record.valid[index] for record in history.epochs]
        assert losses[best - 1] == min(losses)
    assert len(set(history.best_epochs)) == 2, "the tasks of this problem peak at different epochs"


def test_without_validation_rows(problem, equal):
    model = problem.model()
    watch = Snapshots(model)
    _, history = fit(problem, model, valid=False, callbacks=[watch], stopping=Mean(patience=1))
    assert history.stopped == "epochs"
    assert history.best_epoch == 4
    assert history.best_epochs == [0, 0]
    assert all(record.valid == [None, None] for record in history.epochs)
    assert all(math.isfinite(value) for r in history.epochs for value in r.train + r.running)
    assert equal(model.state_dict(), watch.weights[-1])


def test_a_task_without_validation_labels(problem):
    problem.table.masks["z"][64:] = False
    _, history = fit(problem)
    assert all(record.valid[1] is None for record in history.epochs)
    assert history.best_epochs[1] == 0
    assert history.baseline[1] is None


def test_the_training_curve_is_measured_in_eval_mode(problem):
    """With heavy dropout the running loss is worse than the curve of the very same weights."""
    model = problem.model(width=64, dropout=0.9)
    _, history = fit(problem, model, epochs=20, optimizer=OptimizerSpec(learning_rate=0.01))
    last = history.epochs[-1]
    assert last.running[0] > 1.2 * last.train[0]
    assert history.to_json()["epochs"][-1]["train"] == last.train


def test_overfits_one_batch(make_problem):
    problem = make_problem(rows=16)
    model = problem.model(width=64)
    batches = problem.batches(batch_size=16)
    history = problem.trainer(
        model, optimizer=OptimizerSpec(learning_rate=0.01, weight_decay=0.0), epochs=300
    ).fit(batches)
    assert max(history.epochs[-1].train) < 1e-2
    assert history.epochs[0].train[0] > 0.3


# ── randomness ──────────────────────────────────────────────────────────────────────────────


def weights_and_history(model, history):
    document = history.to_json()
    for record in document["epochs"]:
        record.pop("seconds")
    return model.state_dict(), document


def test_one_seed_one_result(problem, equal):
    torch.manual_seed(11)
    first, a = weights_and_history(*fit(problem, problem.model(dropout=0.3), seed=4))
    torch.rand(7)
    second, b = weights_and_history(*fit(problem, problem.model(dropout=0.3), seed=4))
    other, _ = weights_and_history(*fit(problem, problem.model(dropout=0.3), seed=5))
    assert equal(first, second)
    assert a == b
    assert not equal(first, other)


def test_the_seed_of_the_trainer_moves_dropout_alone(problem, equal):
    """Same model, same order of the rows: the trainer's seed must still matter."""
    results = []
    for seed in (1, 2):
        model = problem.model(dropout=0.3)
        problem.trainer(model, seed=seed, epochs=2).fit(problem.batches(HALF))
        results.append(model.state_dict())
    assert not equal(*results)


def test_global_random_state_is_untouched(problem):
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    fit(problem, problem.model(dropout=0.3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


def test_modes_are_right(problem):
    class Modes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 8)
            self.seen = []

        def forward(self, inputs):
            self.seen.append((self.training, torch.is_grad_enabled()))
            return torch.relu(self.layer(inputs))

    model = Modes().eval()
    fit(problem, model, epochs=1)
    assert not model.training, "ready to predict"
    calls = [call for call in model.seen if call != (False, True)]  # roles are found in eval mode
    assert calls[-10:] == [(True, True)] * 8 + [(False, False)] * 2


# ── once, and in order ──────────────────────────────────────────────────────────────────────


def test_a_trainer_fits_once(problem):
    trainer = problem.trainer(problem.model(), epochs=1)
    trainer.fit(problem.batches())
    with pytest.raises(Unsupported, match="A Trainer fits once"):
        trainer.fit(problem.batches())


def test_a_refused_fit_does_not_count(problem):
    trainer = problem.trainer(problem.model(), epochs=1, plateau=Plateau())
    with pytest.raises(InvalidArgument):
        trainer.fit(problem.batches())
    assert trainer.fit(problem.batches(), problem.batches()).stopped == "epochs"


def test_hooks_are_called_in_order(problem):
    calls = []

    class Recorder(Callback):
        def __init__(self, name):
            self.name = name

        def start(self, history, epochs):
            calls.append((self.name, "start", len(history.epochs), epochs))

        def step(self, view):
            calls.append((self.name, "step", view.epoch, view.step, view.steps, view.epochs))

        def epoch(self, view):
            calls.append((self.name, "epoch", view.record.epoch, view.best_epoch, view.patience))

        def end(self, history):
            calls.append((self.name, "end", history.stopped))

    fit(
        problem,
        epochs=2,
        callbacks=[Recorder("a"), Recorder("b")],
        stopping=Regret(patience=7),
        optimizer=OptimizerSpec(learning_rate=1e-3),
    )
    one = [call[1:] for call in calls if call[0] == "a"]
    assert [call[1:] for call in calls if call[0] == "b"] == one
    assert [call[0] for call in calls] == ["a", "b"] * len(one)
    steps = [[("step", e, s, 8, 2) for s in range(1, 9)] for e in (1, 2)]
    assert one == [
        ("start", 0, 2),
        *steps[0],
        ("epoch", 1, 1, 7),
        *steps[1],
        ("epoch", 2, 2, 7),
        ("end", "epochs"),
    ]


def test_an_error_in_a_hook_leaves_the_best_weights(problem, equal):
    class Broken(Snapshots):
        def step(self, view):
            if (view.epoch, view.step) == (3, 4):
                raise ZeroDivisionError

    model = problem.model()
    watch = Broken(model)
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        fit(problem, model, callbacks=[watch])
    assert equal(model.state_dict(), watch.weights[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_fit_in_another_thread(problem):
    """Python delivers no signals there; the run must not need them."""
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(problem)[1].stopped))
    thread.start()
    thread.join()
    assert results == ["epochs"]


# ── arguments ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1; got 0"),
        ({"accumulate": 0}, "`accumulate` must be at least 1; got 0"),
        ({"clip_norm": -1.0}, "`clip_norm` must be at least 0; got -1"),
        ({"balance": FixedWeights([1.0, 2.0, 3.0])}, "`balance` must be made for 2 tasks; got 3"),
    ],
)
def test_values_that_break_their_rule(problem, options, words):
    with pytest.raises(InvalidArgument, match=words):
        problem.trainer(problem.model(), **options)


def test_tasks_are_needed_once_each(problem):
    from polytask import Trainer

    with pytest.raises(InvalidArgument, match="`tasks` must name at least one task"):
        Trainer(problem.model(), [])
    with pytest.raises(InvalidArgument, match="`tasks` must have different names"):
        Trainer(problem.model(), [problem.tasks[0]] * 2)


def test_weights_that_depend_on_the_losses_see_those_of_the_window(make_problem):
    class Squares(LossBalancer):
        num_tasks = 2

        def objective(self, losses, present, counts):
            return losses.square().sum()

    problem = make_problem(rows=32, double=True)
    results = []
    for size, accumulate in ((32, 1), (8, 4)):
        model = problem.model(double=True)
        trainer = problem.trainer(model, balance=Squares(), accumulate=accumulate, epochs=2)
        history = trainer.fit(problem.batches(batch_size=size, seed=3))
        results.append((model.state_dict(), history.epochs[-1].weights))
    for name, value in results[0][0].items():
        torch.testing.assert_close(value, results[1][0][name], rtol=0, atol=1e-12)
    assert results[0][1] == pytest.approx(results[1][1])


def test_training_without_rows(problem):
    with pytest.raises(InvalidArgument, match="`train` must have at least one row; got 0"):
        problem.trainer(problem.model()).fit(problem.batches(slice(0, 0)))


def test_accumulated_run_equals_the_run_with_large_batches(make_problem):
    problem = make_problem(rows=64, weighted=True, double=True)
    results = []
    for size, accumulate in ((32, 1), (8, 4)):
        model = problem.model(double=True)
        history = problem.trainer(model, accumulate=accumulate, epochs=3).fit(
            problem.batches(batch_size=size, seed=3)
        )
        assert history.epochs[-1].steps == 6
        results.append((model.state_dict(), history))
    for name, value in results[0][0].items():
        torch.testing.assert_close(value, results[1][0][name], rtol=0, atol=1e-12)
    assert results[0][1].epochs[-1].running == pytest.approx(
        results[1][1].epochs[-1].running, rel=1e-5
    )


def test_constant_schedule_is_the_default(problem, equal):
    one, _ = fit(problem)
    two, _ = fit(problem, schedule=constant())
    assert equal(one.state_dict(), two.state_dict())
