"""Which tasks are related, and how strongly: edges by names → one coupling per block."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from polytask._checks import require, unknown
from polytask.errors import InvalidArgument

from .coupling import Coupling

Edges = Mapping[tuple[str, str], float] | Tensor


def named_edges(edges: Edges, tasks: Sequence[str]) -> dict[tuple[str, str], float]:
    """Edges as a mapping of pairs; weights of 0 are left out.

    Args:
        edges: Pair of tasks → weight at least 0, each pair once; or the matrix of weights,
            ``[tasks, tasks]``, symmetric with zeros on its diagonal.
        tasks: Names of the rows of the matrix; empty for a mapping.

    Raises:
        InvalidArgument: If the edges are not of this form.

    Example:
        >>> named_edges(torch.tensor([[0.0, 2.0], [2.0, 0.0]]), ["age", "sex"])
        {('age', 'sex'): 2.0}
    """
    if isinstance(edges, Mapping):
        require(len(tasks) == 0, "tasks", "be empty if `edges` is a mapping of pairs", list(tasks))
        pairs = {(first, second): float(weight) for (first, second), weight in edges.items()}
    else:
        count = len(tasks)
        require(
            tuple(edges.shape) == (count, count) and len(set(tasks)) == count,
            "edges",
            f"be a matrix with one row and column for each of the {count} different names in "
            "`tasks`",
            tuple(edges.shape),
        )
        require(
            bool((edges == edges.T).all()) and not bool(edges.diagonal().any()),
            "edges",
            "be a symmetric matrix with zeros on its diagonal",
            edges.tolist(),
        )
        rows = edges.tolist()
        pairs = {
            (tasks[i], tasks[j]): float(rows[i][j])
            for i in range(count)
            for j in range(i + 1, count)
        }
    for (first, second), weight in pairs.items():
        require(first != second, "edges", "join two different tasks", (first, second))
        require(
            (second, first) not in pairs, "edges", "name every pair of tasks once", (first, second)
        )
        require(
            0 <= weight < float("inf"),
            "edges",
            "have weights that are at least 0 and finite",
            weight,
        )
    pairs = {pair: weight for pair, weight in pairs.items() if weight > 0}
    require(len(pairs) > 0, "edges", "join at least two tasks", pairs)
    return pairs


def couplings(
    edges: Mapping[tuple[str, str], float] | None, columns: Sequence[tuple[str, ...]]
) -> list[Coupling]:
    """One coupling per block.

    Args:
        edges: As `named_edges` gives them; None joins all tasks of a block with weight 1.
        columns: The task of each column, per block.

    Raises:
        UnknownName: If an edge names a task that has no such weights.
        InvalidArgument: If an edge joins tasks whose weights differ in size, or the order of the
            tasks in a head is unknown.
    """
    if edges is None:
        return [Coupling(torch.ones(len(tasks), len(tasks))) for tasks in columns]
    known = {task for tasks in columns for task in tasks}
    if "" in known:
        raise InvalidArgument(
            "`edges` must join tasks that the model's parameters name; got weights whose tasks are "
            "unknown. Give the parameters' tasks, or leave out `edges` to join all."
        )
    for pair in edges:
        for task in pair:
            if task not in known:
                raise unknown("edges", task, sorted(known))
        require(
            any(set(pair) <= set(tasks) for tasks in columns),
            "edges",
            "join tasks whose weights have the same size",
            pair,
        )
    result = []
    for tasks in columns:
        weights = [
            [edges.get((first, second), edges.get((second, first), 0.0)) for second in tasks]
            for first in tasks
        ]
        result.append(Coupling(torch.tensor(weights, dtype=torch.float64)))
    return result
