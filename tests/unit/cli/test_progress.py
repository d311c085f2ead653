"""Live progress: what it shows in a terminal and in a file."""

import io

from rich.console import Console

from polytask.cli.progress import Progress
from polytask.training import EpochRecord, EpochView, History, StepView


def console(terminal, width=80):
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, highlight=False)


def run(progress, tasks, epochs, limit=100):
    names = [f"task {i}" for i in range(tasks)]
    history = History(names, baseline=[1.0] * tasks)
    progress.start(history, limit)
    for epoch in range(1, epochs + 1):
        progress.step(StepView(epoch, limit, 1, 2))
        record = EpochRecord(epoch, epoch, [0.5] * tasks, [0.25] * tasks, [0.5] * tasks, [], 0.1)
        history.epochs.append(record)
        history.best_epochs = [1] * tasks
        progress.drawn = 0.0  # let every epoch be drawn
        progress.epoch(EpochView(record, history, 1, epoch - 1, 16, limit))
    progress.end(history)
    return progress.console.file.getvalue()


def test_a_file_gets_a_line_at_powers_of_two_and_at_the_end():
    text = run(Progress(console(False)), tasks=2, epochs=11)
    *lines, last = text.splitlines()
    assert last.startswith("Measuring")
    assert [line.split(",")[0] for line in lines] == [
        f"epoch {epoch}/100" for epoch in (1, 2, 4, 8, 11)
    ]
    assert "mean validation loss 0.5000, best epoch 1" in text
    assert "\x1b" not in text


def test_the_end_is_not_said_twice():
    text = run(Progress(console(False)), tasks=2, epochs=4)
    assert text.count("epoch 4/100") == 1


def test_a_terminal_shows_every_task_and_the_patience():
    text = run(Progress(console(True)), tasks=2, epochs=3)
    for words in ("epoch 3/100", "best 1", "patience 14 of 16", "task 0", "0.2500", "50%"):
        assert words in text


def test_many_tasks_are_counted_and_not_drawn():
    text = run(Progress(console(True)), tasks=139, epochs=1)
    assert "task 7" in text
    assert "task 8" not in text
    assert "… 131 more tasks" in text


def test_lines_fit_80_columns():
    text = run(Progress(console(True)), tasks=1, epochs=1, limit=100_000)
    assert "patience 16 of 16" in text


def test_drawing_is_rare():
    progress = Progress(console(True))
    progress.start(History(["a"]), 10)
    drawn = []
    progress._draw = lambda: drawn.append(1) or ""
    for step in range(1000):
        progress.step(StepView(1, 10, step, 1000))
    progress.close()
    assert len(drawn) < 5


def test_closing_twice_is_harmless():
    progress = Progress(console(True))
    progress.start(History(["a"]), 10)
    progress.close()
    progress.close()
    assert progress.live is None
