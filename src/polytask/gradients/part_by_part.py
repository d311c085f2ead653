"""The Gramian within a memory budget: the trunk is walked back once, part by part.

The nodes of the trunk stand in an order in which each comes before those that it hands gradients
to. Cut anywhere: what the nodes before the cut hand to nodes behind it is everything that the rest
needs. So all tasks go back through one part, its parameters' gradients are reduced to inner
products and forgotten, and all tasks go on from the cut.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from .call import Call
from .reach import Edge, is_leaf
from .rows import Rows, row_bytes
from .shared import Graph
from .sources import Sources

Sent = dict[Edge, Tensor]
"""Edge → what a task has handed over there so far."""


@dataclass(frozen=True)
class Stretch:
    """Nodes between two cuts.

    Args:
        groups: Parameters whose gradients are complete here, by what fits into the budget at once.
        crossings: (node of this stretch, slot, edge behind its end that the slot leads to).
        inside: Nodes at which a task may start here.
    """

    groups: Sequence[Sequence[Tensor]]
    crossings: Sequence[tuple[Node, int, Edge]]
    inside: frozenset[Node]


def gramian_by_parts(
    rows: Rows, call: Call, sources: Sources, stretches: Sequence[Stretch]
) -> Float[Tensor, "tasks tasks"]:
    """The Gramian in float64; one pass per task in all, unless one stretch has several groups.

    Args:
        rows: Memory for the gradients of one group.
        call: The update.
        sources: Where the tasks start.
        stretches: Of `cut`.
    """
    tasks, num_tasks = call.losses.tasks, len(call.losses.names)
    sent: dict[int, Sent] = {}
    for k in tasks:
        starts = sources.gradients.get(k, {})
        edges = [(sources.edges[n].node, sources.edges[n].output_nr) for n in starts]
        sent[k] = dict(zip(edges, starts.values(), strict=True))
    total: Tensor | None = None
    for stretch in stretches:
        for number, group in enumerate(stretch.groups):
            last = number == len(stretch.groups) - 1
            rows.open(num_tasks, group)
            for k in range(num_tasks):
                here = {e: g for e, g in sent.get(k, {}).items() if e[0] in stretch.inside}
                if not here:
                    rows.clear(k)
                    continue
                gradients, handed = _back(here, group, stretch.crossings if last else ())
                rows.fill(k, gradients)
                if last:
                    rest = {e: g for e, g in sent[k].items() if e not in here}
                    sent[k] = _merged(rest, handed)
            found = rows.gramian(tasks)
            total = found if total is None else total + found
    assert total is not None
    return total


def _back(
    starts: Sent, group: Sequence[Tensor], crossings: Sequence[tuple[Node, int, Edge]]
) -> tuple[Sequence[Tensor | None], Sent]:
    """Gradients of a group, and what crosses the cut.

    What crosses is taken down where it is handed over: the gradient that arrives behind the cut
    may also have come from nodes behind it, and would be counted twice.
    """
    handed: Sent = {}

    def take(edge: Edge, gradient: Tensor) -> None:
        handed[edge] = handed[edge] + gradient if edge in handed else gradient

    wanted = [get_gradient_edge(column) for column in group]
    onward = dict.fromkeys(edge for _, _, edge in crossings)
    with _watching(crossings, take):
        gradients = torch.autograd.grad(
            [GradientEdge(*edge) for edge in starts],
            [*wanted, *(GradientEdge(*edge) for edge in onward)],
            list(starts.values()),
            retain_graph=True,
            allow_unused=True,
        )
    return gradients[: len(group)], handed


@contextmanager
def _watching(
    crossings: Sequence[tuple[Node, int, Edge]], take: Callable[[Edge, Tensor], None]
) -> Iterator[None]:
    def watch(slot: int, edge: Edge) -> Callable[..., None]:
        def hook(sent: Sequence[Tensor | None], _: Sequence[Tensor | None]) -> None:
            gradient = sent[slot]
            if gradient is not None:
                take(edge, gradient)

        return hook

    handles = [node.register_hook(watch(slot, edge)) for node, slot, edge in crossings]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _merged(one: Sent, two: Sent) -> Sent:
    return one | {edge: one[edge] + g if edge in one else g for edge, g in two.items()}


def cut(graph: Graph, num_tasks: int, budget: int) -> list[Stretch]:
    """Cuts the graph so that the gradients of the parameters between two cuts fit the budget.

    Args:
        graph: Of this update.
        num_tasks: Rows.
        budget: Bytes.
    """
    place = _places(graph.behind.order)
    nodes = {id(column): get_gradient_edge(column).node for column in graph.columns}
    by_place: dict[int, list[Tensor]] = {}
    for column in graph.trunk:
        by_place.setdefault(place[nodes[id(column)]], []).append(column)
    ends: list[int] = []
    filled: list[list[Sequence[Tensor]]] = []
    size = 0
    for end in sorted(by_place):
        groups = _groups(by_place[end], num_tasks, budget)
        needed = num_tasks * row_bytes(by_place[end])
        if filled and len(groups) == 1 and size + needed <= budget:
            filled[-1] = [[*filled[-1][0], *groups[0]]]
            ends[-1] = end
            size += needed
        else:
            filled.append(groups)
            ends.append(end)
            size = needed  # above the budget where a stretch has several groups
    needed_nodes = {nodes[id(column)] for column in graph.trunk}
    for node in reversed(graph.behind.order):
        if any(child in needed_nodes for child, _ in node.next_functions):
            needed_nodes.add(node)
    stretches = []
    start = -1
    for end, parts in zip(ends, filled, strict=True):
        inside = frozenset(node for node, number in place.items() if start < number <= end)
        crossings = [
            (node, slot, (child, number))
            for node in inside
            if not is_leaf(node)
            for slot, (child, number) in enumerate(node.next_functions)
            if child in needed_nodes and place[child] > end
        ]
        stretches.append(Stretch(parts, crossings, inside))
        start = end
    return stretches


def _places(order: Sequence[Node]) -> dict[Node, int]:
    """Node → number in an order in which nodes stand before those that they hand gradients to.

    A leaf has the number of the last node that hands something to it, and so have the nodes on the
    way to it alone, such as a transposed weight: their gradients are as large as the parameter's,
    and would have to be carried over every cut in between.
    """
    place: dict[Node, int] = {}
    latest: dict[Node, int] = {}
    chain: set[Node] = set()
    for node in reversed(order):
        children = [child for child, _ in node.next_functions if child is not None]
        if is_leaf(node) or (len(children) == 1 and children[0] in chain):
            chain.add(node)
    for number, node in enumerate(order):
        place[node] = latest.get(node, number) if node in chain else number
        for child, _ in node.next_functions:
            if child is not None:
                latest[child] = max(latest.get(child, -1), place[node])
    return place


def _groups(columns: Sequence[Tensor], num_tasks: int, budget: int) -> list[Sequence[Tensor]]:
    """Parameters of one place, by what fits at once."""
    groups: list[list[Tensor]] = [[]]
    for column in columns:
        if groups[-1] and num_tasks * row_bytes([*groups[-1], column]) > budget:
            groups.append([])
        groups[-1].append(column)
    return list(groups)
