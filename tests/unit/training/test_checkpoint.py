"""Resuming: what must be equal, and what a broken file says."""

import pytest
import torch

from polytask.balancing import FixedWeights
from polytask.errors import CorruptFile, DataError, FileProblem, InvalidArgument
from polytask.optim import OptimizerSpec
from polytask.training import Callback, History
from polytask.training.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


def trainer_for(problem, path, *, model=None, **options):
    options = {"epochs": 2, "seed": 1} | options
    return problem.trainer(
        model or problem.model(dropout=0.2), checkpoint=path, checkpoint_seconds=1e9, **options
    )


@pytest.fixture
def written(problem, path):
    """A finished run and its history."""
    model = problem.model(dropout=0.2)
    history = trainer_for(problem, path, model=model).fit(problem.batches(), problem.batches())
    return model, history


def test_a_finished_run_returns_the_same_history(problem, path, written, equal):
    model, history = written
    calls = []

    class Watch(Callback):
        def start(self, history, epochs):
            calls.append(("start", len(history.epochs)))

        def step(self, view):
            calls.append("step")

        def end(self, history):
            calls.append(("end", history.stopped))

    fresh = problem.model(seed=9)
    again = trainer_for(problem, path, model=fresh, callbacks=[Watch()])
    assert again.fit(problem.batches(), problem.batches(), resume=True) == history
    assert again.history == history
    assert equal(fresh.state_dict(), model.state_dict())
    assert calls == [("start", 2), ("end", "epochs")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 2}, "its seed is 1, this run's is 2. Start a new run in another folder."),
        ({"epochs": 3}, "its epochs is 2, this run's is 3."),
        (
            {"identity": {"table": "bbbb"}},
            "its table is None, this run's is bbbb. Resume with the table the run was started with",
        ),
        ({"balance": FixedWeights([1, 2])}, "balance is EqualWeights, this run's is FixedWeights"),
        ({"optimizer": OptimizerSpec("sgd")}, "its optimizer is AdamW, this run's is SGD."),
    ],
    ids=["seed", "epochs", "table", "balance", "optimizer"],
)
def test_another_run_is_refused(problem, path, written, options, words):
    trainer = trainer_for(problem, path, **options)
    with pytest.raises(DataError) as caught:
        trainer.fit(problem.batches(), problem.batches(), resume=True)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"Cannot resume from '{path}': ")


def test_another_table_is_refused_by_its_hash(problem, path):
    trainer_for(problem, path, identity={"table": "aaaa"}).fit(problem.batches())
    with pytest.raises(DataError, match="its table is aaaa, this run's is bbbb"):
        trainer_for(problem, path, identity={"table": "bbbb"}).fit(problem.batches(), resume=True)


def test_another_number_of_rows_is_refused(problem, path, written):
    with pytest.raises(DataError, match="its rows is 32, this run's is 24"):
        trainer_for(problem, path).fit(problem.batches(slice(0, 24)), resume=True)


def test_another_network_is_refused(problem, path, written):
    with pytest.raises(DataError, match="its number of parameters is 50, this run's is 98"):
        trainer_for(problem, path, model=problem.model(width=16)).fit(
            problem.batches(), problem.batches(), resume=True
        )


def test_other_tasks_are_refused(problem, path, written):
    problem.tasks.reverse()
    trainer = trainer_for(problem, path)
    with pytest.raises(DataError, match="its tasks is y, z, this run's is z, y"):
        trainer.fit(problem.batches(), problem.batches(), resume=True)


def test_another_number_of_threads_is_refused(problem, path, written):
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.raises(DataError, match=f"its threads is {threads}.*Set that number of thread"):
            trainer_for(problem, path).fit(problem.batches(), problem.batches(), resume=True)
    finally:
        torch.set_num_threads(threads)


def test_another_torch_is_refused(path):
    save_checkpoint(path, {"torch": "1.0"}, {"epoch": 1})
    with pytest.raises(DataError, match=r"its torch is 1\.0.*Install that version"):
        load_checkpoint(path, {"torch": "2.0"})


def test_nothing_to_resume(problem, path):
    with pytest.raises(FileProblem, match="Nothing to resume: there is no checkpoint at"):
        trainer_for(problem, path).fit(problem.batches(), resume=True)
    with pytest.raises(InvalidArgument, match="`resume` must come with a `checkpoint` file"):
        problem.trainer(problem.model()).fit(problem.batches(), resume=True)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "text"])
def test_a_damaged_file(problem, path, written, damage):
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-100:]
    elif damage == "one bit":
        content[-50] ^= 1
    else:
        content = bytearray(b"" if damage == "empty" else b"not a checkpoint")
    path.write_bytes(content)
    model = problem.model(seed=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CorruptFile, match=r"checkpoint\.safetensors"):
        trainer_for(problem, path, model=model).fit(problem.batches(), resume=True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_file_of_another_kind(path):
    from polytask._files.archive import write_archive

    write_archive(path, {"w": torch.ones(1)}, {}, kind="model", schema_version=1)
    with pytest.raises(CorruptFile, match="is a model, not a checkpoint"):
        load_checkpoint(path, {})


def test_a_file_of_a_newer_version(path):
    from polytask._files.archive import write_archive

    write_archive(path, {}, {}, kind="checkpoint", schema_version=99)
    with pytest.raises(CorruptFile, match="schema version 99"):
        load_checkpoint(path, {})


def test_a_sealed_file_without_its_content(path):
    from polytask._files.archive import write_archive

    write_archive(path, {}, {"identity": {}}, kind="checkpoint", schema_version=1)
    with pytest.raises(CorruptFile, match="is incomplete"):
        load_checkpoint(path, {})


def test_the_folder_is_made(problem, tmp_path):
    path = tmp_path / "a" / "b" / "checkpoint.safetensors"
    trainer_for(problem, path).fit(problem.batches())
    assert path.exists()


def test_a_file_in_the_place_of_the_folder_is_refused_before_training(problem, tmp_path):
    (tmp_path / "run").write_text("")
    model = problem.model(dropout=0.2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FileProblem, match="run"):
        trainer_for(problem, tmp_path / "run" / "c", model=model).fit(problem.batches())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_history_in_json_and_back(written):
    import json

    _, history = written
    assert History.from_json(json.loads(json.dumps(history.to_json()))) == history
