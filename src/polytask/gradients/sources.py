"""From where the gradient of each task starts towards the shared parameters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from .call import Call
from .heads import Part, pass_heads
from .parting import Hook, Parting, Sent
from .shared import Graph


@dataclass(frozen=True)
class Sources:
    """Places in the graph and what each task sends back from them.

    Args:
        edges: Places.
        gradients: Task → number of the place → gradient of its loss there.
    """

    edges: Sequence[GradientEdge]
    gradients: dict[int, dict[int, Tensor]]

    def of(self, task: int) -> tuple[list[GradientEdge], list[Tensor]]:
        """Places and gradients of one task."""
        sent = self.gradients.get(task, {})
        return [self.edges[number] for number in sent], list(sent.values())


def from_losses(call: Call) -> Sources:
    """Every task starts at its loss."""
    edges = [get_gradient_edge(loss) for loss in call.losses.tensors]
    seeds = call.seeds()
    numbered = enumerate(call.losses.tasks)
    return Sources(edges, {k: {number: seeds[number]} for number, k in numbered})


def from_branches(
    call: Call, graph: Graph, heads: Sequence[Tensor], *, keep: bool
) -> tuple[Sources, list[Part]]:
    """One pass through all heads, up to the branches.

    Args:
        call: The update.
        graph: With branches.
        heads: Leaves behind them whose gradients are wanted too.
        keep: Whether the graph of the heads is needed again.
    """
    copies, parts = pass_heads(call, graph.found, heads, keep=keep)
    sent: dict[int, dict[int, Tensor]] = {}
    for (number, k), gradient in copies.items():
        sent.setdefault(k, {})[number] = gradient
    edges = [get_gradient_edge(branch.representation) for branch in graph.branches]
    return Sources(edges, sent), [(leaf, gradient, None) for leaf, gradient in parts]


def from_where_tasks_part(
    call: Call, parting: Parting, heads: Sequence[tuple[Tensor, int]], *, keep: bool
) -> tuple[Sources, list[Part]]:
    """One pass through all heads without a branch, up to what several losses reach.

    A node that only one loss reaches sends gradients of this loss only. So the sum of all losses is
    differentiated once, and where such a node hands its gradient over to a node that several losses
    reach, it is taken down before it is added to the others.

    Args:
        call: The update.
        parting: Where they part.
        heads: Leaves that one loss reaches, and which, if their gradients are wanted too.
        keep: Whether the graph of the heads is needed again.
    """
    sent: dict[int, dict[int, Tensor]] = {}

    def take(k: int, number: int, gradient: Tensor) -> None:
        row = sent.setdefault(k, {})
        row[number] = row[number] + gradient if number in row else gradient

    edges = [GradientEdge(*edge) for edge in parting.numbers]
    with _watching(parting, take):
        found = torch.autograd.grad(
            call.losses.tensors,
            [*edges, *(get_gradient_edge(leaf) for leaf, _ in heads)],
            call.seeds(),
            retain_graph=keep,
            allow_unused=True,
        )
    at_heads = zip(heads, found[len(edges) :], strict=True)
    parts = [(leaf, g, mask.bit_length() - 1) for (leaf, mask), g in at_heads if g is not None]
    return Sources(edges, sent), list[Part](parts)


@contextmanager
def _watching(parting: Parting, take: Callable[[int, int, Tensor], None]) -> Iterator[None]:
    """Inside, gradients that cross are taken down."""

    def watch(slot: int, number: int, task: int) -> Hook:
        def hook(sent: Sent, _: Sent) -> None:
            gradient = sent[slot]
            if gradient is not None:
                take(task, number, gradient)

        return hook

    numbers = parting.numbers
    handles = [
        node.register_hook(watch(slot, numbers[edge], task))
        for node, slot, edge, task in parting.crossings
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
