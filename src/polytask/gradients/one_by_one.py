"""One backward pass per task, whatever the trunk is made of."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from .call import Call
from .heads import Part
from .rows import Rows
from .shared import Graph
from .sources import Sources


def fill_rows(
    rows: Rows,
    call: Call,
    graph: Graph,
    sources: Sources,
    *,
    keep: bool,
    heads_too: bool,
) -> list[Part]:
    """Writes the gradient of every task into its row.

    Args:
        rows: Open for the shared parameters.
        call: The update.
        graph: Its graph.
        sources: Where the tasks start.
        keep: Whether the graph is needed again.
        heads_too: Whether the gradients of what only one task reaches are wanted.

    Returns:
        (leaf, gradient, task) of the heads.
    """
    parts: list[Part] = []
    columns = [get_gradient_edge(column) for column in graph.columns]
    tasks = call.losses.tasks
    for k in range(len(call.losses.names)):
        outputs, seeds = sources.of(k)
        if not outputs:
            rows.clear(k)
            continue
        own: list[Tensor] = []
        if heads_too and graph.branches:
            own = [leaf for leaf, task in graph.private if task == k]
        elif heads_too:
            own = [leaf for leaf, mask in graph.heads if mask >> k & 1]
        gradients = torch.autograd.grad(
            outputs,
            [*columns, *(get_gradient_edge(leaf) for leaf in own)],
            seeds,
            retain_graph=keep or k != tasks[-1],
            allow_unused=True,
        )
        rows.fill(k, gradients[: len(columns)])
        for leaf, gradient in zip(own, gradients[len(columns) :], strict=True):
            if gradient is not None:
                parts.append((leaf, gradient, k))
        del gradients  # or two tasks' gradients would be in memory during the next pass
    return parts


def squared_norms(
    num_tasks: int, graph: Graph, sources: Sources, like: Tensor
) -> Float[Tensor, " tasks"]:
    """Squared lengths of the task gradients, of which one at a time is in memory."""
    squares = torch.zeros(num_tasks, dtype=torch.float64, device=like.device)
    columns: list[GradientEdge] = [get_gradient_edge(column) for column in graph.columns]
    for k in range(num_tasks):
        outputs, seeds = sources.of(k)
        if not outputs:
            continue
        gradients = torch.autograd.grad(
            outputs, columns, seeds, retain_graph=True, allow_unused=True
        )
        squares[k] = _squared_length([g for g in gradients if g is not None])
        del gradients
    return squares


def _squared_length(gradients: Sequence[Tensor]) -> Tensor | float:
    if not gradients:
        return 0.0
    lengths = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]
    return torch.stack(lengths).square().sum()
