"""The Gramian within a memory budget: the trunk is walked back once, part by part.

The nodes of the trunk stand in an order in which each comes before those that it hands gradients
to. The edges that cross a cut carry everything that the rest needs. So all tasks go
back through one part, its parameters' gradients are reduced to inner products and forgotten, and
all tasks go on from the cut. There is no cut across a shortcut, nor between the uses of a
parameter: what lies between is one part, walked back once for every group of its parameters that
fits.
"""

import heapq
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Stretch:
    """Nodes between two cuts.

    Args:
        groups: Parameters whose gradients are complete here, by what fits into the budget at once.
        onward: Edges that cross the cut at its end.
    """

    groups: Sequence[Sequence[Tensor]]
    onward: Sequence[Edge]


def gramian_by_parts(
    rows: Rows, call: Call, sources: Sources, stretches: Sequence[Stretch]
) -> Float[Tensor, "tasks tasks"]:
    """The Gramian in float64; one pass per task in all, unless one stretch has several groups.

    Args:
        rows: Memory for the gradients of one group.
        call: The update.
        sources: Where the tasks start; used up, or their memory would stay.
        stretches: Of `cut`.
    """
    tasks, num_tasks = call.losses.tasks, len(call.losses.names)
    sent = {
        k: {
            (sources.edges[number].node, sources.edges[number].output_nr): gradient
            for number, gradient in sources.gradients.pop(k, {}).items()
        }
        for k in tasks
    }
    total: Tensor | None = None
    for stretch in stretches:
        for number, group in enumerate(stretch.groups):
            last = number == len(stretch.groups) - 1
            onward = stretch.onward if last else ()
            wanted = [
                *(get_gradient_edge(column) for column in group),
                *(GradientEdge(*edge) for edge in onward),
            ]
            rows.open(num_tasks, group)
            for k in range(num_tasks):
                if not sent.get(k):
                    rows.clear(k)
                    continue
                gradients = torch.autograd.grad(
                    [GradientEdge(*edge) for edge in sent[k]],
                    wanted,
                    list(sent[k].values()),
                    retain_graph=True,
                    allow_unused=True,
                )
                rows.fill(k, gradients[: len(group)])
                if last:
                    pairs = zip(onward, gradients[len(group) :], strict=True)
                    sent[k] = {edge: g for edge, g in pairs if g is not None}
                del gradients
            found = rows.gramian(tasks)
            total = found if total is None else total + found
    assert total is not None
    return total


def cut(graph: Graph, sources: Sources, num_tasks: int, budget: int) -> list[Stretch]:
    """Cuts the graph so that the gradients of the parameters between two cuts fit the budget.

    Args:
        graph: Of this update.
        sources: Where the tasks start.
        num_tasks: Rows.
        budget: Bytes.
    """
    nodes = {id(column): get_gradient_edge(column).node for column in graph.columns}
    wanted = _leading_to(graph.behind.order, [nodes[id(column)] for column in graph.trunk])
    order = _side_ways_first(graph.behind.order, wanted)
    place = {node: number for number, node in enumerate(order) if not is_leaf(node)}
    last: dict[Node, int] = {}
    for node, number in place.items():
        for child, _ in node.next_functions:
            if child is not None and is_leaf(child):
                last[child] = number
    by_place: dict[int, list[Tensor]] = {}
    for column in graph.trunk:
        by_place.setdefault(last.get(nodes[id(column)], -1), []).append(column)
    starts = [(edge.node, edge.output_nr) for edge in sources.edges]
    where = {**last, **place}

    def onward(end: int) -> list[Edge]:
        """Edges from what comes before a cut to what comes behind it."""
        crossing = dict.fromkeys(edge for edge in starts if where.get(edge[0], -1) > end)
        for node, number in place.items():
            if number <= end:
                for child, slot in node.next_functions:
                    if child in wanted and where[child] > end:
                        crossing[child, slot] = None
        return list(crossing)

    stretches: list[Stretch] = []
    block: list[Tensor] = []
    for end in sorted(by_place):
        block += by_place[end]
        crossing = onward(end)
        if _depends_on_itself(crossing, wanted):
            continue
        before = stretches[-1].groups if stretches else []
        if len(before) == 1 and num_tasks * row_bytes([*before[0], *block]) <= budget:
            stretches[-1] = Stretch([[*before[0], *block]], crossing)
        else:
            stretches.append(Stretch(_groups(block, num_tasks, budget), crossing))
        block = []
    return stretches


def _depends_on_itself(crossing: Sequence[Edge], wanted: Mapping[Node, int]) -> bool:
    """Whether one edge leads to another: then no cut is possible, as around a shortcut."""
    ends = set(crossing)
    seen: set[Node] = set()
    stack = [node for node, _ in crossing]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for edge in node.next_functions:
            child = edge[0]
            if child is not None and child in wanted:
                if edge in ends:
                    return True
                stack.append(child)
    return False


def _leading_to(order: Sequence[Node], leaves: Sequence[Node]) -> dict[Node, int]:
    """Node → how many of the leaves its gradient goes on to, if any."""
    masks = {leaf: 1 << number for number, leaf in enumerate(leaves)}
    for node in reversed(order):
        for child, _ in node.next_functions:
            if child in masks:
                masks[node] = masks.get(node, 0) | masks[child]
    return {node: mask.bit_count() for node, mask in masks.items()}


def _side_ways_first(order: Sequence[Node], leading_to: Mapping[Node, int]) -> list[Node]:
    """Another order in which every node comes before those that it hands gradients to.

    Of the nodes whose turn it may be, the one that leads to the fewest leaves: so the way to a
    parameter is walked to its end at once, and a cut is crossed by representations and not by the
    gradients of parameters.
    """
    waiting: dict[Node, int] = dict.fromkeys(order, 0)
    for node in order:
        for child, _ in node.next_functions:
            if child in waiting:
                waiting[child] += 1
    numbers = {node: number for number, node in enumerate(order)}

    def entry(node: Node) -> tuple[int, int, Node]:
        return leading_to.get(node, 0), numbers[node], node

    ready = [entry(node) for node, count in waiting.items() if not count]
    heapq.heapify(ready)
    result = []
    while ready:
        _, _, node = heapq.heappop(ready)
        result.append(node)
        for child, _ in node.next_functions:
            if child in waiting:
                waiting[child] -= 1
                if not waiting[child]:
                    heapq.heappush(ready, entry(child))
    return result


def _groups(columns: Sequence[Tensor], num_tasks: int, budget: int) -> list[Sequence[Tensor]]:
    """Parameters of one place, by what fits at once."""
    groups: list[list[Tensor]] = [[]]
    for column in columns:
        if groups[-1] and num_tasks * row_bytes([*groups[-1], column]) > budget:
            groups.append([])
        groups[-1].append(column)
    return list(groups)
