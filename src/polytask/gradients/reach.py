"""Which tasks reach which parameters, read from the graph."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from polytask.errors import Unsupported

from .branching import NODE, Branch, branch_of

Edge = tuple[Node, int]

_LEAF = "torch::autograd::AccumulateGrad"
_REENTRANT = "CheckpointFunctionBackward"


class _LeafNode(Protocol):
    variable: Tensor


@dataclass(frozen=True)
class Reach:
    """What lies between some tensors and the leaves of the graph.

    Args:
        leaves: Tensors that get a gradient, in the order in which the graph is walked.
        masks: Per leaf, bit k is set if root k depends on it.
        branches: Nodes of branches that were met, with what they know; nothing behind them counts.
        met: Edges among `stops` that were met; nothing behind them counts.
        order: All nodes, every one before those that it hands gradients to.
        reached_by: Node → the same kind of mask.
    """

    leaves: tuple[Tensor, ...]
    masks: tuple[int, ...]
    branches: tuple[tuple[Node, Branch], ...]
    met: frozenset[Edge]
    order: tuple[Node, ...]
    reached_by: Mapping[Node, int]


def edge_of(tensor: Tensor) -> Edge:
    """The edge of the graph that stands for a tensor."""
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def walk(
    roots: Sequence[Tensor | None],
    *,
    stops: Collection[Edge] = (),
    into_branches: bool = False,
) -> Reach:
    """Walks the graph once, whatever the number of roots.

    Args:
        roots: Tensors to start from; None (an absent task) reaches nothing.
        stops: Edges behind which nothing counts.
        into_branches: Go on behind branches (None of them is reported then).

    Raises:
        Unsupported: If a segment is checkpointed in the reentrant way, which hides its parameters.
    """
    starts = [None if root is None else edge_of(root) for root in roots]
    ends = set(stops)
    met: set[Edge] = set()
    children: dict[Node, tuple[Node, ...]] = {}
    order: list[Node] = []
    branches: list[tuple[Node, Branch]] = []
    leaves: list[Node] = []
    finished: set[Node] = set()
    met |= {start for start in starts if start is not None and start in ends}
    stack = [start[0] for start in reversed(starts) if start is not None and start not in ends]
    while stack:
        node = stack[-1]
        if node in children:
            stack.pop()
            if node not in finished:
                finished.add(node)
                order.append(node)
            continue
        name = node.name()
        if name == _LEAF:
            leaves.append(node)
            children[node] = ()
            continue
        if name == NODE and not into_branches:
            inside = branch_of(node)
            if inside is not None:
                branches.append((node, inside))
                children[node] = ()
                continue
        if name == _REENTRANT:
            raise Unsupported(
                "A segment is checkpointed with `use_reentrant=True`, which allows one backward "
                "pass only and hides its parameters. Pass use_reentrant=False to checkpoint."
            )
        edges = node.next_functions
        if ends:
            met |= ends.intersection(edges)
            edges = tuple(edge for edge in edges if edge not in ends)
        found = tuple(child for child, _ in edges if child is not None)
        children[node] = found
        stack.extend(child for child in found if child not in children)
    masks = dict.fromkeys(order, 0)
    for k, start in enumerate(starts):
        if start is not None and start not in ends:
            masks[start[0]] |= 1 << k
    for node in reversed(order):
        mask = masks[node]
        for child in children[node]:
            masks[child] |= mask
    return Reach(
        tuple(leaf_of(node) for node in leaves),
        tuple(masks[node] for node in leaves),
        tuple(branches),
        frozenset(met),
        tuple(reversed(order)),
        masks,
    )


def is_leaf(node: Node) -> bool:
    """Whether a node stands for a leaf of the graph."""
    return node.name() == _LEAF


def leaf_of(node: Node) -> Tensor:
    """The tensor that a leaf's node accumulates into."""
    return cast(_LeafNode, node).variable


def shares_a_gathered_vector(losses: Sequence[Tensor | None]) -> bool:
    """Whether two losses were taken out of one vector."""
    sources: set[Node] = set()
    for loss in losses:
        node = None if loss is None else loss.grad_fn
        if node is None or node.name() not in {"SelectBackward0", "UnbindBackward0"}:
            continue
        source = node if node.name() == "UnbindBackward0" else node.next_functions[0][0]
        if source is None:
            continue
        if source in sources:
            return True
        sources.add(source)
    return False
