"""What is drawn when there is too much to draw: which tasks, and which epochs of a curve."""

from collections.abc import Collection, Sequence

from polytask.diagnostics import Comparison, RunReport, TaskRow

from .words import BASELINES

MAX_TASKS = 12
MAX_POINTS = 120


def main_comparison(report: RunReport, task: TaskRow) -> Comparison | None:
    """The strictest comparison of a task: with the linear model, else with the average."""
    row = task.on(report.judged_on)
    if row is None:
        return None
    return row.comparison("linear") or row.comparison("mean")


def choose_tasks(report: RunReport, limit: int = MAX_TASKS) -> tuple[list[int], str]:
    """Positions of the tasks to draw, in the user's order, and how they were chosen, in words.

    Up to `limit` tasks are all drawn; of more, the half of `limit` that is furthest behind and the
    half that is furthest ahead of the baseline. Tasks with too few labels for a verdict are left
    to the table unless too few others remain.
    """
    total = len(report.tasks)
    if total <= limit:
        return list(range(total)), ""
    comparisons = [main_comparison(report, task) for task in report.tasks]
    compared = {i: c.difference for i, c in enumerate(comparisons) if c is not None}
    if len(compared) < limit:
        first = f"Drawn: the first {limit} of {total} tasks. All are in the table."
        return list(range(limit)), first
    judged = {i: difference for i, difference in compared.items() if _judged(report, i)}
    which = f"{limit} of {total} tasks"
    if limit <= len(judged) < len(compared):
        compared = judged
        which = f"{which}; of the {len(judged)} with enough labels for a verdict"
    ranked = sorted(compared, key=compared.__getitem__)
    half = limit // 2
    names = {c.baseline for c in comparisons if c is not None}
    against = BASELINES["linear" if "linear" in names else "mean"]
    return sorted({*ranked[:half], *ranked[-(limit - half) :]}), (
        f"Drawn: {which}, the {half} furthest behind and the {limit - half} furthest ahead of "
        f"{against}. All are in the table."
    )


def _judged(report: RunReport, index: int) -> bool:
    row = report.tasks[index].on(report.judged_on)
    return row is not None and not row.too_few


def thin_epochs(epochs: Sequence[int], keep: Collection[int], limit: int = MAX_POINTS) -> list[int]:
    """At most `limit` of the epochs, evenly spaced, with the first, the last and all of `keep`.

    Example:
        >>> thin_epochs(range(1, 1001), keep=[123], limit=5)
        [1, 123, 334, 667, 1000]
    """
    if len(epochs) <= limit:
        return list(epochs)
    kept = {epochs[0], epochs[-1], *(epoch for epoch in keep if epoch in set(epochs))}
    rest = max(2, limit - len(kept) + 2)
    last = len(epochs) - 1
    spread = [epochs[round(i * last / (rest - 1))] for i in range(rest)]
    return sorted({*kept, *spread})
