"""NaN, exhausted memory, Ctrl-C: one sentence, and the last good weights."""

import json
import math
import os
import signal

import pytest
import torch
from torch import nn

from polytask.balancing import LossBalancer
from polytask.errors import FileProblem, OutOfMemory, TrainingDiverged
from polytask.optim import OptimizerSpec
from polytask.training import Callback, Regret
from polytask.training.loop import MAX_SKIPPED
from polytask.training.memory import out_of_memory

NAN = float("nan")


class Snapshots(Callback):
    """Weights after every update and every epoch; may act at one of them."""

    def __init__(self, model, at=None, action=lambda: None):
        self.model, self.at, self.action = model, at, action
        self.updates, self.epochs = [], []

    def weights(self):
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def start(self, history, epochs):
        self.updates.append(self.weights())

    def step(self, view):
        self.updates.append(self.weights())
        if self.at == (view.epoch, view.step):
            self.action()

    def epoch(self, view):
        self.epochs.append(self.weights())
        if self.at == (view.record.epoch, "end"):
            self.action()


class Average(LossBalancer):
    """A moving average of the losses: one NaN that is let in stays for ever."""

    def __init__(self):
        super().__init__()
        self.num_tasks = 2
        self.register_buffer("average", torch.ones(2))

    def objective(self, losses, present, counts):
        self.average = self.average.lerp(losses.detach(), 0.1)
        return (losses / self.average * present).mean()


# ── NaN ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("balance", [None, Average()], ids=["equal", "stateful"])
def test_a_nan_skips_one_update_and_leaves_no_trace(make_problem, equal, balance):
    """Row 20 lies in update 3 of each epoch; batch statistics and balancer stay clean too."""
    problem = make_problem(rows=64, gaps=0.0)
    model = problem.model(normalization="batch")
    watch = Snapshots(model)
    train = problem.batches(shuffle=False)
    train.table.inputs[20] = NAN
    valid = problem.batches()
    trainer = problem.trainer(model, balance=balance, epochs=2, callbacks=[watch])
    history = trainer.fit(train, valid)
    changed = [not equal(a, b) for a, b in zip(watch.updates, watch.updates[1:], strict=False)]
    assert changed == ([True] * 2 + [False] + [True] * 5) * 2
    assert [record.skipped for record in history.epochs] == [1, 1]
    assert [record.steps for record in history.epochs] == [8, 16]
    for value in model.state_dict().values():
        assert value.isfinite().all()
    for record in history.epochs:
        assert all(math.isfinite(value) for value in record.running + record.weights)
        assert all(math.isfinite(value) for value in record.valid)
        assert record.train == [None, None], "the curve's rows hold the NaN"
    json.dumps(history.to_json(), allow_nan=False)


def test_a_skipped_update_does_not_move_the_optimizer(make_problem, equal):
    """Momentum and step counts of Adam: as if the batch had not been there."""
    problem = make_problem(rows=32)
    results = []
    for broken in (True, False):
        model = problem.model()
        train = problem.batches(shuffle=False)
        if broken:
            train.table.inputs[24:] = NAN
        else:
            train = problem.batches(slice(0, 24), shuffle=False)
        problem.trainer(model, epochs=1).fit(train)
        results.append(model.state_dict())
    assert equal(*results)


def test_twenty_in_a_row_end_the_run(make_problem, equal):
    """Epoch 1 is good; then every input is NaN."""
    problem = make_problem(rows=200)
    model = problem.model()
    train, valid = problem.batches(), problem.batches()
    watch = Snapshots(model, (1, "end"), lambda: train.table.inputs.fill_(NAN))
    ended = []
    watch.end = lambda history: ended.append(history.stopped)
    trainer = problem.trainer(model, callbacks=[watch])
    with pytest.raises(TrainingDiverged) as caught:
        trainer.fit(train, valid)
    assert str(caught.value) == (
        "The loss became NaN or infinite in epoch 2 (20 updates in a row); the weights of epoch 1 "
        "were kept. Lower the learning rate, or look for extreme values in the table."
    )
    assert len(watch.updates) - 1 == 25 + MAX_SKIPPED - 1
    assert equal(model.state_dict(), watch.epochs[0])
    assert ended == [trainer.history.stopped] == ["diverged"]
    assert len(trainer.history.epochs) == 1


def test_before_the_first_epoch_the_initial_weights_come_back(make_problem, equal):
    problem = make_problem(rows=200)
    model = problem.model()
    watch = Snapshots(model)
    train = problem.batches(shuffle=False)
    train.table.inputs[8:] = NAN
    with pytest.raises(TrainingDiverged, match="in a row\\); no epoch was finished\\."):
        problem.trainer(model, callbacks=[watch]).fit(train, problem.batches())
    assert equal(model.state_dict(), watch.updates[0])
    assert not equal(model.state_dict(), watch.updates[1])


def test_nineteen_in_a_row_do_not(make_problem):
    """Over the border of two epochs: good, 19 bad, good, 19 bad …"""
    problem = make_problem(rows=160)
    train = problem.batches(shuffle=False)
    train.table.inputs[8:] = NAN
    history = problem.trainer(problem.model(), epochs=3).fit(train, problem.batches())
    assert [record.skipped for record in history.epochs] == [19, 19, 19]
    assert history.stopped == "epochs"


def test_a_validation_loss_that_is_not_finite(make_problem, equal):
    problem = make_problem(rows=64)
    model = problem.model()
    train, valid = problem.batches(), problem.batches()
    watch = Snapshots(model, (2, "end"), lambda: valid.table.inputs.fill_(NAN))
    trainer = problem.trainer(model, callbacks=[watch], stopping=Regret())
    with pytest.raises(TrainingDiverged) as caught:
        trainer.fit(train, valid)
    assert str(caught.value) == (
        "The validation loss of 'y' is not finite after epoch 3; the weights of epoch "
        f"{trainer.history.best_epoch} were kept. Lower the learning rate, or look for extreme "
        "values."
    )
    assert equal(model.state_dict(), watch.epochs[trainer.history.best_epoch - 1])


def test_an_absurd_rate_diverges_with_the_sentence(make_problem):
    problem = make_problem(rows=64)
    spec = OptimizerSpec("sgd", learning_rate=1e20, momentum=0.0)
    model = problem.model()
    with pytest.raises(TrainingDiverged, match="Lower the learning rate"):
        problem.trainer(model, optimizer=spec, clip_norm=0.0).fit(
            problem.batches(), problem.batches()
        )
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_a_nan_prediction_without_a_label_does_not_reach_the_curves(make_problem):
    """Row 20 has a label of `z` alone: the curve of `y` stays finite."""
    problem = make_problem(rows=64, gaps=0.0)
    problem.table.masks["y"][20] = False
    train = problem.batches(shuffle=False)
    train.table.inputs[20] = NAN
    history = problem.trainer(problem.model(), epochs=1).fit(train)
    (record,) = history.epochs
    assert math.isfinite(record.train[0])
    assert record.train[1] is None


# ── memory ──────────────────────────────────────────────────────────────────────────────────


class Hungry(nn.Module):
    """Runs out of memory at the n-th training call."""

    def __init__(self, error, at):
        super().__init__()
        self.layer = nn.Linear(3, 8)
        self.error, self.left = error, at

    def forward(self, inputs):
        if self.training:
            self.left -= 1
            if self.left == 0:
                raise self.error
        return torch.relu(self.layer(inputs))


CPU_TEXT = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(CPU_TEXT),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "windows", "numpy"],
)
def test_out_of_memory_keeps_the_best_weights(problem, equal, error):
    model = Hungry(error, at=4 + 4 + 2)
    watch = Snapshots(model)
    trainer = problem.trainer(model, callbacks=[watch])
    with pytest.raises(OutOfMemory) as caught:
        trainer.fit(problem.batches(), problem.batches())
    best = trainer.history.best_epoch
    assert str(caught.value) == (
        f"Out of memory in epoch 3; the weights of epoch {best} were kept. Use a smaller batch "
        "size (with `accumulate` the update stays the same) or a narrower model."
    )
    assert caught.value.__cause__ is error
    assert trainer.history.stopped == "out of memory"
    assert equal(model.state_dict(), watch.epochs[best - 1])
    assert not equal(model.state_dict(), watch.updates[-1])


def test_the_real_allocator_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert out_of_memory(caught.value)


def test_other_errors_pass(problem):
    model = Hungry(RuntimeError("shapes cannot be multiplied"), at=3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        problem.trainer(model).fit(problem.batches())


# ── Ctrl-C ──────────────────────────────────────────────────────────────────────────────────


def stopped_run(problem, tmp_path, at, action, **options):
    model = problem.model(dropout=0.3)
    watch = Snapshots(model, at, action)
    trainer = problem.trainer(
        model,
        epochs=4,
        callbacks=[watch],
        checkpoint=tmp_path / "checkpoint.safetensors",
        checkpoint_seconds=1e9,
        **options,
    )
    return trainer, model, watch


def document(history):
    content = history.to_json()
    for record in content["epochs"]:
        record.pop("seconds")
    return content


def send(number):
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [(1, 1), (2, 3), (3, 4), (4, 4)], ids=str)
def test_a_signal_keeps_the_best_and_a_resumed_run_ends_bit_identical(
    problem, equal, tmp_path, number, at
):
    """First update, middle, last update of an epoch, last update of all."""
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    spec = OptimizerSpec(learning_rate=0.1)
    whole, whole_model, _ = stopped_run(problem, tmp_path / "whole", None, None, optimizer=spec)
    expected = document(whole.fit(problem.batches(), problem.batches()))

    trainer, model, watch = stopped_run(problem, tmp_path, at, send(number), optimizer=spec)
    history = trainer.fit(problem.batches(), problem.batches())
    assert history.stopped == "interrupted"
    assert len(watch.updates) - 1 == (at[0] - 1) * 4 + at[1], "it ends after this very update"
    kept = watch.epochs[history.best_epoch - 1] if history.best_epoch else watch.updates[0]
    assert equal(model.state_dict(), kept)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers

    again, model, _ = stopped_run(problem, tmp_path, None, None, optimizer=spec)
    history = again.fit(problem.batches(), problem.batches(), resume=True)
    assert document(history) == expected
    assert equal(model.state_dict(), whole_model.state_dict())


def test_a_second_ctrl_c_interrupts_at_once(problem, equal, tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    trainer, model, watch = stopped_run(problem, tmp_path, (2, 2), twice)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(problem.batches(), problem.batches())
    assert equal(model.state_dict(), watch.epochs[0])
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_without_a_checkpoint_file(problem, equal):
    model = problem.model()
    watch = Snapshots(model, (2, 1), send(signal.SIGINT))
    history = problem.trainer(model, callbacks=[watch]).fit(problem.batches(), problem.batches())
    assert history.stopped == "interrupted"
    assert equal(model.state_dict(), watch.epochs[0])


def test_handlers_come_back_after_an_error(problem):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError):
        problem.trainer(Hungry(RuntimeError("x"), 1)).fit(problem.batches())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_checkpoint_that_cannot_be_written(problem, equal, tmp_path):
    """A file lies where its folder should be: a sentence, and the best weights all the same."""
    folder = tmp_path / "run"

    def block_and_interrupt():
        folder.rmdir()
        folder.write_text("")
        os.kill(os.getpid(), signal.SIGINT)

    trainer, model, watch = stopped_run(problem, folder, (3, 1), block_and_interrupt)
    with pytest.raises(FileProblem, match="run"):
        trainer.fit(problem.batches(), problem.batches())
    assert equal(model.state_dict(), watch.epochs[trainer.history.best_epoch - 1])
    assert not equal(model.state_dict(), watch.updates[-1])
