"""The sentences at the top of a report: first of all, who is better than the model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from polytask.data.finding import Finding

from .rows import TaskRow, Together

NAMES = {
    "linear": "a linear model",
    "single": "one network per task",
    "mean": "predicting the training average",
}
SETS = {"train": "training", "valid": "validation", "test": "test"}
SHOWN = 6
CHANCE = 0.05
"""Share of tasks without any difference that a 90 % interval calls worse."""


def write_headline(
    tasks: Sequence[TaskRow],
    together: Sequence[Together],
    judged_on: str,
    num_rows: int,
    history: Mapping[str, Any],
    findings: Sequence[Finding],
) -> tuple[str, ...]:
    """Sentences for the top.

    The first ones name every baseline that is better than the model, with the tasks; a verdict is
    always one of the paired bootstrap, never one of the gap. With many tasks, as many "worse" ones
    as chance alone gives (one in twenty) are counted, but make no sentence of their own.

    Args:
        tasks: The finished rows.
        together: All tasks together, on every set.
        judged_on: The set of rows the sentences are about.
        num_rows: Its number of rows.
        history: `History.to_json()`.
        findings: What was found in the table.
    """
    overall = [row for row in together if row.rows == judged_on]
    lost = [
        sentence for baseline in NAMES for sentence in _lost(tasks, overall, judged_on, baseline)
    ]
    scores = [_score(tasks, judged_on, baseline) for baseline in NAMES]
    return tuple(
        sentence
        for sentence in (
            *lost,
            *scores,
            _all_together(overall) if len(tasks) > 1 else "",
            _too_few(tasks, judged_on),
            _without_linear(tasks, judged_on),
            _rows(judged_on, num_rows, history),
            _epoch(history),
            _findings(findings),
        )
        if sentence
    )


def listed(names: Sequence[str], shown: int = SHOWN) -> str:
    """Names in a sentence.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], shown=1)
        ('a, b and c', 'a and 2 more')
    """
    if len(names) > shown:
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _verdicts(tasks: Sequence[TaskRow], rows: str, baseline: str) -> dict[str, str]:
    found = {task.name: row.verdict(baseline) for task in tasks if (row := task.on(rows))}
    return {name: verdict for name, verdict in found.items() if verdict}


def _lost(
    tasks: Sequence[TaskRow], overall: Sequence[Together], rows: str, baseline: str
) -> list[str]:
    verdicts = _verdicts(tasks, rows, baseline)
    worse = [name for name, verdict in verdicts.items() if verdict == "worse"]
    if len(worse) <= CHANCE * len(verdicts):
        worse = []
    name = NAMES[baseline].capitalize()
    everywhere = len(tasks) > 1 and _together(overall, baseline) == "worse"
    if worse:
        count = "this task" if len(tasks) == 1 else f"{len(worse)} of {_tasks(len(tasks))}"
        both = ", and over all tasks together" * everywhere
        return [f"{name} is better than this model on {count} ({listed(worse)}){both}."]
    return [f"Over all tasks together, {NAMES[baseline]} is better than this model."] * everywhere


def _score(tasks: Sequence[TaskRow], rows: str, baseline: str) -> str:
    verdicts = Counter(_verdicts(tasks, rows, baseline).values())
    judged = verdicts.total()
    if not judged:
        return ""
    start = f"Against {NAMES[baseline]}: better on "
    if verdicts["better"] == judged:
        return f"{start}{_all_of(judged)}."
    return (
        f"{start}{verdicts['better']} of {_tasks(judged)}, no clear difference on "
        f"{verdicts['no clear difference']}, worse on {verdicts['worse']}."
    )


def _all_together(overall: Sequence[Together]) -> str:
    if not overall:
        return ""
    weighting = "every label" if overall[0].weighting == "labels" else "every task"
    parts = [
        f"{_percent(c.difference)} against {NAMES[c.baseline]} (90\N{NO-BREAK SPACE}% interval "
        f"{_percent(c.low)} to {_percent(c.high)})"
        for c in (row.comparison for row in overall)
    ]
    return (
        f"Over all tasks ({weighting} counts the same), in shares of the mean predictor's loss: "
        f"{', '.join(parts)}; plus is better."
    )


def _together(overall: Sequence[Together], baseline: str) -> str:
    return next(
        (row.comparison.verdict for row in overall if row.comparison.baseline == baseline), ""
    )


def _too_few(tasks: Sequence[TaskRow], rows: str) -> str:
    few = [task.name for task in tasks if (row := task.on(rows)) is not None and row.too_few]
    if not few:
        return ""
    who = "all tasks" if len(few) == len(tasks) > 1 else f"{_tasks(len(few))} ({listed(few)})"
    return f"Too few {SETS[rows]} labels to judge {who}: no verdict per task."


def _without_linear(tasks: Sequence[TaskRow], rows: str) -> str:
    if rows == "train":  # there nothing is compared, and `_rows` says so
        return ""
    without = [
        task.name
        for task in tasks
        if (row := task.on(rows)) is not None and row.labels and row.comparison("linear") is None
    ]
    if not without:
        return ""
    if len(without) == len(tasks):
        return "No linear model was fitted, so nothing is said about one."
    return f"No linear model was fitted for {listed(without)}."


def _rows(rows: str, num_rows: int, history: Mapping[str, Any]) -> str:
    if rows == "test":
        return f"Judged on {num_rows:,} test rows, which decided nothing."
    if rows == "train":
        return (
            f"Measured on {num_rows:,} training rows only, from which the model has learned: that "
            "says nothing about new rows. Keep rows for validation."
        )
    if history.get("stopped") == SOLVED:
        return f"Judged on {num_rows:,} {SETS[rows]} rows, which the fit has not seen."
    return (
        f"Judged on {num_rows:,} {SETS[rows]} rows; they also chose the epoch, so the figures are "
        "slightly optimistic."
    )


SOLVED = "solved"
"""How the history of a linear model ends, which is solved for and has no epochs."""

_STOPPED = {
    "epochs": "all epochs were run",
    "patience": "no compromise between the tasks got better any more",
    "interrupted": "it was interrupted",
    "diverged": "a loss became NaN or infinite",
    "out of memory": "the device ran out of memory",
}


def _epoch(history: Mapping[str, Any]) -> str:
    epochs = len(history.get("epochs", ()))
    if not epochs:
        return ""
    if history.get("stopped") == SOLVED:
        return "The model is linear and was solved for; it has no epochs that could be stopped."
    why = _STOPPED.get(str(history.get("stopped", "")), "")
    ended = f"; the run ended because {why}" if why else ""
    return f"The weights of epoch {history['best_epoch']} of {epochs} were kept{ended}."


def _findings(findings: Sequence[Finding]) -> str:
    severe = [finding for finding in findings if finding.severity == "danger"]
    if not severe:
        return ""
    return f"Look at the table first: {' '.join(f.sentence for f in severe[:2])}"


def _tasks(count: int) -> str:
    return f"{count} task" if count == 1 else f"{count} tasks"


def _all_of(count: int) -> str:
    return "the one task" if count == 1 else f"all {count} tasks"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f}\N{NO-BREAK SPACE}%".replace("-", "−")
