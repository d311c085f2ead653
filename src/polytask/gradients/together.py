"""All tasks in one batched backward pass through a trunk of linear layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from .layers import Layer, layer_gramian, linear_layers
from .parting import several
from .products import full_precision, gramian_of, inner
from .reach import is_leaf
from .rows import row_format
from .shared import Graph
from .sources import Sources

FEWEST_TASKS = 4
"""Below, one pass per task is at least as fast."""

SEES_HOOKS = hasattr(torch._C._autograd.SavedTensor, "unpack_hook")
"""Whether this release of torch tells that a saved tensor must be made again first; if not, every
trunk is walked back one task at a time."""

_SMALL = 2**12

_BATCHES = frozenset(
    name + "Backward0"
    for name in (
        *("Addmm", "Mm", "Bmm", "T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias"),
        *("Unsqueeze", "Squeeze", "Expand", "Cat", "Stack", "Select", "Slice", "Split", "Clone"),
        *("Relu", "Tanh", "Sigmoid", "Gelu", "Silu", "Elu", "Celu", "LeakyRelu", "Softplus"),
        *("Hardtanh", "Mish", "Hardswish", "Glu", "Softmax", "Abs", "Neg", "Exp", "Log", "Where"),
        *("Add", "Sub", "Mul", "Div", "Pow", "Rsqrt", "Sqrt", "ToCopy", "Alias"),
        *("NativeLayerNorm", "NativeBatchNorm", "NativeGroupNorm", "NativeDropout"),
    )
) | {"AddBackward1", "SubBackward1", "MulBackward1", "DivBackward1"} | {
    "SqueezeBackward1", "SumBackward1", "MeanBackward1", "ClampBackward1"
}  # fmt: skip
"""Operations whose backward pass is as fast for all tasks at once, in every release of torch; not
convolutions (they become grouped ones) nor recurrent layers."""


@dataclass(frozen=True)
class Plan:
    """How the gradients of all tasks will be taken.

    Args:
        columns: Parameters whose gradients are formed for every task.
        layers: Those whose gradients are not, because their inner products cost less without.
        bytes: Memory for all of it.
    """

    columns: Sequence[Tensor]
    layers: Sequence[Layer]
    bytes: int


def plan_of(graph: Graph, num_tasks: int) -> Plan | None:
    """The plan for a graph that can be walked back for all tasks at once, if that saves anything.

    It does where inner products at some layer take less arithmetic than its weight gradients. Where
    all gradients must be formed anyway, one pass per task is as fast and needs less memory.
    """
    if not SEES_HOOKS or num_tasks < FEWEST_TASKS or not graph.trunk:
        return None
    if graph.trunk[0].device.type != "cpu":
        return None
    if graph.private or (not graph.branches and graph.parting is None):
        return None
    nodes = _trunk(graph)
    if not all(is_leaf(node) or node.name() in _BATCHES for node in nodes):
        return None
    if any(_unpacked_by_hooks(node) for node in nodes):
        return None
    if not all(full_precision(leaf) for leaf in graph.trunk):
        return None
    layers = [layer for layer in linear_layers(nodes) if layer.cheaper(num_tasks)]
    if not layers:
        return None
    apart = {id(layer.weight) for layer in layers}
    columns = [leaf for leaf in graph.trunk if id(leaf) not in apart]
    size = row_format(graph.columns)[0].itemsize
    numbers = sum(leaf.numel() for leaf in columns)
    numbers += sum(layer.inputs().shape[0] * layer.weight.shape[0] for layer in layers)
    return Plan(columns, layers, num_tasks * numbers * size)


@final
class Together:
    """The task gradients of one update, as blocks [tasks, …] per parameter.

    Args:
        plan: What to form.
        sources: Where the tasks start.
        tasks: The present ones.
        num_tasks: All of them.
        keep: Whether the graph is needed again.
    """

    def __init__(
        self, plan: Plan, sources: Sources, tasks: Sequence[int], num_tasks: int, *, keep: bool
    ) -> None:
        self.plan = plan
        self.tasks = list(tasks)
        self.num_tasks = num_tasks
        self._inputs = [layer.inputs() for layer in plan.layers]
        places = [get_gradient_edge(column) for column in plan.columns]
        outputs = [GradientEdge(node, 0) for layer in plan.layers for node in layer.nodes]
        starts, seeds = _stacked(sources, self.tasks)
        found = torch.autograd.grad(
            starts,
            [*places, *outputs],
            seeds,
            retain_graph=keep,
            allow_unused=True,
            is_grads_batched=True,
        )
        self._blocks = [
            column.new_zeros(len(self.tasks), *column.shape) if block is None else block
            for column, block in zip(plan.columns, found, strict=False)
        ]
        backs = iter(found[len(places) :])
        self._backs = []
        for layer in plan.layers:
            parts = [back for _, back in zip(layer.nodes, backs, strict=False)]
            self._backs.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))

    def gramian(self) -> Float[Tensor, "tasks tasks"]:
        """All inner products, in float64; zero for absent tasks."""
        like = (self._blocks or self._backs)[0]
        rows = self._flat_rows()
        small = gramian_of(lambda exact: self._measure(rows, exact), like, range(len(self.tasks)))
        if len(self.tasks) == self.num_tasks:
            return small
        here = torch.tensor(self.tasks, device=small.device)
        whole = small.new_zeros(self.num_tasks, self.num_tasks)
        whole[here[:, None], here] = small
        return whole

    def mixed(self, weights: Float[Tensor, " tasks"]) -> list[tuple[Tensor, Tensor]]:
        """(parameter, Σ_k w_k gradient of task k), in memory of its own."""
        chosen = weights if len(self.tasks) == self.num_tasks else weights[self.tasks]
        pairs = []
        for column, block in zip(self.plan.columns, self._blocks, strict=True):
            order = _order(block)
            rows = block.permute(order).reshape(len(block), -1)
            mixed = torch.mv(rows.T, chosen.to(rows)).view([block.shape[d] for d in order[1:]])
            pairs.append(
                (column, mixed.permute([order[1:].index(d + 1) for d in range(mixed.dim())]))
            )
        for layer, a, back in zip(self.plan.layers, self._inputs, self._backs, strict=True):
            flat = back.reshape(len(back), -1)
            mixed = torch.mv(flat.T, chosen.to(flat)).view(back.shape[1:])
            pairs.append((layer.weight, torch.mm(mixed.T, a)))
        return pairs

    def _flat_rows(self) -> list[Tensor]:
        """The blocks as rows; small ones side by side."""
        rows: list[Tensor] = []
        small: list[Tensor] = []
        for block in self._blocks:
            flat = block.permute(_order(block)).reshape(len(block), -1)
            (small if flat.shape[1] <= _SMALL else rows).append(flat)
        if small:
            rows.append(torch.cat(small, dim=1) if len(small) > 1 else small[0])
        return rows

    def _measure(self, rows: Sequence[Tensor], exact: bool) -> Tensor:
        count = len(self.tasks)
        total = torch.zeros(count, count, dtype=torch.float64)
        for flat in rows:
            total += inner(flat, flat, exact)
        for a, back in zip(self._inputs, self._backs, strict=True):
            total += layer_gramian(a, back, exact)
        return total


def _trunk(graph: Graph) -> list[Node]:
    """Nodes that the gradients of several tasks pass."""
    if graph.branches:
        return list(graph.behind.order)
    masks = graph.found.reached_by
    return [node for node in graph.found.order if several(masks[node])]


def _stacked(sources: Sources, tasks: Sequence[int]) -> tuple[list[GradientEdge], list[Tensor]]:
    """Per place the gradients of all tasks, zero where a task does not pass it."""
    starts, stacks = [], []
    for number, edge in enumerate(sources.edges):
        sent = [sources.gradients.get(k, {}).get(number) for k in tasks]
        like = next((gradient for gradient in sent if gradient is not None), None)
        if like is not None:
            starts.append(edge)
            stacks.append(torch.stack([torch.zeros_like(like) if g is None else g for g in sent]))
    return starts, stacks


def _order(block: Tensor) -> list[int]:
    """Dimensions as they lie in memory, tasks first."""
    if block.is_contiguous():
        return list(range(block.dim()))
    return [0, *sorted(range(1, block.dim()), key=lambda d: block.stride()[d], reverse=True)]


@cache
def _saved_names(kind: type) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith("_raw_saved"))


def _unpacked_by_hooks(node: Node) -> bool:
    """Whether something saved must be made again first, as in a checkpointed segment."""
    for name in _saved_names(type(node)):
        saved = getattr(node, name)
        for one in saved if isinstance(saved, tuple | list) else (saved,):
            if one.unpack_hook is not None:
                return True
    return False
