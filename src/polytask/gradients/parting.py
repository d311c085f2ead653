"""Where the tasks part, read from the graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from .reach import Edge, Reach

Sent = tuple[Tensor | None, ...]
Hook = Callable[[Sent, Sent], Sent | None]


class Crossing(NamedTuple):
    """An edge from what one loss reaches into what several losses reach.

    Args:
        node: On the side of one loss.
        slot: Which of its edges.
        edge: Where it leads.
        task: Position of the loss.
    """

    node: Node
    slot: int
    edge: Edge
    task: int


@dataclass(frozen=True)
class Parting:
    """All crossings, and the places to which they lead.

    Args:
        crossings: One per edge.
        numbers: Place → its number.
    """

    crossings: Sequence[Crossing]
    numbers: dict[Edge, int]


def several(mask: int) -> bool:
    """Whether more than one bit is set."""
    return bool(mask & (mask - 1))


def find_parting(found: Reach, trunk: Sequence[Tensor]) -> Parting | None:
    """Where the tasks part, or None where that cannot be told from the graph.

    It can if the shared parameters are exactly those that several losses reach, if no loss is
    itself part of another, and if no such place lies behind another one (as with a parameter that
    is used in the trunk and again in a head): a pass through the heads then ends at these places.

    Args:
        found: The walk from the losses.
        trunk: Shared parameters that this update reaches.
    """
    masks = found.reached_by
    together = {
        id(leaf) for leaf, mask in zip(found.leaves, found.masks, strict=True) if several(mask)
    }
    if together != {id(leaf) for leaf in trunk}:
        return None
    crossings: list[Crossing] = []
    numbers: dict[Edge, int] = {}
    inside: set[Edge] = set()
    for node in found.order:
        mask = masks[node]
        for slot, edge in enumerate(node.next_functions):
            child = edge[0]
            if child is None or not several(masks[child]):
                continue
            if several(mask):
                inside.add((child, edge[1]))
            else:
                place = (child, edge[1])
                crossings.append(Crossing(node, slot, place, mask.bit_length() - 1))
                numbers.setdefault(place, len(numbers))
    reached = {place[0] for place in inside} | {place[0] for place in numbers}
    whole = all(
        node in reached for node in found.order if several(masks[node])
    )  # a loss that others contain is entered by nobody
    return Parting(crossings, numbers) if whole and not inside.intersection(numbers) else None


@contextmanager
def weighing_at(parting: Parting, weights: Sequence[Tensor]) -> Iterator[None]:
    """Inside, what a task sends into the shared part is multiplied by the weight of the task."""

    def weigh(slots: Sequence[int], weight: Tensor) -> Hook:
        def hook(sent: Sent, _: Sent) -> Sent:
            return tuple(
                one * weight.to(one) if one is not None and slot in slots else one
                for slot, one in enumerate(sent)
            )

        return hook

    slots: dict[Node, list[int]] = {}
    tasks: dict[Node, int] = {}
    for node, slot, _, task in parting.crossings:
        slots.setdefault(node, []).append(slot)
        tasks[node] = task
    handles = [node.register_hook(weigh(own, weights[tasks[node]])) for node, own in slots.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
