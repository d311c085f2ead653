"""Which tasks are neighbours in an order: names → columns per block."""

from collections.abc import Sequence
from itertools import pairwise

from polytask._checks import require, unknown
from polytask.errors import InvalidArgument, UnknownName


def chains(order: tuple[str, ...], columns: Sequence[tuple[str, ...]]) -> list[list[list[int]]]:
    """Per block, its runs of neighbours, as indices of columns.

    Args:
        order: Names of the tasks in their order.
        columns: The task of each column, per block.

    Raises:
        UnknownName: If the order names a task that has no such weights.
        InvalidArgument: If neighbours never stand in one block, a task stands twice in one, or the
            tasks are unknown.

    Example:
        >>> chains(("a", "b", "c"), [("c", "a", "b"), ("b", "a"), ("a", "c")])
        [[[1, 2, 0]], [[1, 0]], []]
    """
    known = {task for tasks in columns for task in tasks}
    if "" in known:
        raise InvalidArgument(
            "`order` must name tasks that the model's parameters name; got weights whose tasks are "
            "unknown. Give the parameters' tasks."
        )
    for task in order:
        if task not in known:
            sentence = unknown("order", task, sorted(known))
            raise UnknownName(f"{sentence} Heads correspond if their sizes are equal.")
    for pair in pairwise(order):
        together = any(set(pair) <= set(tasks) for tasks in columns)
        require(together, "order", "have neighbours whose weights have the same size", pair)
    result: list[list[list[int]]] = []
    for tasks in columns:
        mine = [task for task in tasks if task in order]
        require(
            len(mine) == len(set(mine)),
            "selector",
            "select one set of weights of each size per task",
            sorted({task for task in mine if mine.count(task) > 1}),
            "Which of them are neighbours is unknown.",
        )
        runs: list[list[int]] = [[]]
        for task in order:
            if task in mine:
                runs[-1].append(tasks.index(task))
            else:
                runs.append([])
        result.append([run for run in runs if len(run) > 1])
    return result
