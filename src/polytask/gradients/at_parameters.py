"""The task gradients of the shared parameters: measured one task at a time."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from polytask.aggregation import GradientAggregator, GramianAggregator
from polytask.errors import InvalidArgument, PolytaskWarning, Unsupported

from .branching import Branch
from .call import Call, Settings, backward_weighted, positions_of, ready_weights, weigh
from .checks import check_apart, check_branches
from .leaves import add_gradients, has_hooks, hooks_at_rest
from .losses import GATHERED
from .reach import Reach, shares_a_gathered_vector, walk
from .report import ASSEMBLED, NO_WEIGHTS, ONE_BACKWARD, OVER_BUDGET, BackwardReport
from .rows import Rows, row_bytes, row_format


@dataclass(frozen=True)
class Graph:
    """What this update's graph looks like.

    Args:
        columns: Shared parameters, in the order of the Jacobian's columns.
        trunk: Those of them that this update reaches.
        heads: Task → other leaves that its loss reaches (with a branch: all of them under None).
        branches: As found in the graph.
        found: The walk.
    """

    columns: Sequence[Tensor]
    trunk: Sequence[Tensor]
    heads: Sequence[tuple[Tensor, int]]
    branches: Sequence[Branch]
    found: Reach

    @property
    def rest(self) -> list[Tensor]:
        """All leaves outside the trunk."""
        return [leaf for leaf, _ in self.heads]


@dataclass
class Sources:
    """From where the gradient of each task starts towards the shared parameters."""

    outputs: dict[int, list[Tensor]]
    seeds: dict[int, list[Tensor]]


@final
class AtParameters:
    """Task gradients at the shared parameters.

    Args:
        settings: What the user chose.
        shared: The shared parameters; None: those that two or more losses reach.
    """

    def __init__(self, settings: Settings, shared: Iterable[Tensor] | None) -> None:
        self.settings = settings
        self.rows = Rows()
        self._given = shared is not None
        self._columns = [] if shared is None else _trainable(shared)
        self._seen: set[int] = set()
        self._warned = False

    def run(self, balance: GramianAggregator | GradientAggregator, call: Call) -> BackwardReport:
        """Measures, asks the method and fills ``.grad``."""
        graph = self._read(call)
        if isinstance(balance, GramianAggregator):
            ready = ready_weights(balance, call)
            if ready is not None:
                self._weighted(call, ready, graph)
                return call.report(ready, None, balance.flags | {ONE_BACKWARD}, self.settings)
        leaves = [*graph.trunk, *graph.rest]
        kind, _ = row_format(graph.columns)
        needed = len(call.losses.names) * row_bytes(graph.columns)
        fits = needed <= self.settings.max_gradient_memory
        if isinstance(balance, GradientAggregator):
            if not fits:
                raise Unsupported(
                    self._too_large(needed, f"{type(balance).__name__} needs at once")
                )
            with hooks_at_rest(leaves):
                parts = self._measure(call, graph, keep=call.keep, heads_too=True)
            return self._combined(balance, call, graph, parts)
        update = self.settings.update
        if update == "auto":
            update = "backward" if any(has_hooks(leaf) for leaf in leaves) else "assembled"
        if not fits:
            return self._over_budget(balance, call, graph, needed)
        assembled = update == "assembled"
        with hooks_at_rest(leaves):
            parts = self._measure(call, graph, keep=call.keep or not assembled, heads_too=assembled)
        if balance.needs == "norms":
            lengths = torch.linalg.vector_norm(self.rows.matrix, dim=1, dtype=torch.float64)
            gramian = call.unscaled(torch.diag(lengths.square()))
        else:
            gramian = call.unscaled(self.rows.gramian())
        weights = weigh(balance, gramian, call, kind)
        if not assembled:
            self._weighted(call, weights, graph)
            return call.report(weights, gramian, balance.flags | {ONE_BACKWARD}, self.settings)
        self._write(graph, self.rows.mixed(weights), owned=True)
        self._write_heads(call, graph, parts, weights)
        call.add_penalty()
        return call.report(weights, gramian, balance.flags | {ASSEMBLED}, self.settings)

    def _read(self, call: Call) -> Graph:
        """Walks the graph and sorts its leaves."""
        found = walk(call.losses.entries)
        branches = check_branches(call, found)
        if branches:
            if self._given:
                raise Unsupported(
                    "`shared` must be None with branch(), which already says what is shared."
                )
            behind = walk([branch.representation for branch in branches], into_branches=True)
            check_apart(behind.leaves, found.leaves, "branch")
            trunk = list(behind.leaves)
            self._learn(call, trunk)
            heads = list(zip(found.leaves, found.masks, strict=True))
            return Graph(self._columns, trunk, heads, branches, found)
        if not self._given:
            if shares_a_gathered_vector(call.losses.entries):
                raise Unsupported(GATHERED)
            pairs = zip(found.leaves, found.masks, strict=True)
            alone = len(call.losses.names) == 1  # then all of it is the trunk
            self._learn(call, [leaf for leaf, mask in pairs if alone or mask & (mask - 1)])
        columns = {id(leaf) for leaf in self._columns}
        trunk, heads = [], []
        for leaf, mask in zip(found.leaves, found.masks, strict=True):
            if id(leaf) in columns:
                trunk.append(leaf)
            else:
                heads.append((leaf, mask))
        return Graph(self._columns, trunk, heads, (), found)

    def _learn(self, call: Call, found: Sequence[Tensor]) -> None:
        """Keeps the shared parameters of the first update; adds what new tasks share."""
        known = {id(leaf) for leaf in self._columns}
        new = [leaf for leaf in found if id(leaf) not in known]
        tasks = set(call.losses.tasks)
        if self._columns and found and len(new) == len(found) and tasks <= self._seen:
            raise InvalidArgument(
                "The losses reach none of the shared parameters of the earlier updates. Make a new "
                "MultiTaskBackward for another model."
            )
        self._seen |= tasks
        self._columns = [*self._columns, *new]
        if not self._columns:
            raise InvalidArgument(
                "No parameter is reached by two or more of the losses that are present, so there "
                "is nothing to balance. Name the shared parameters with shared=, or check that the "
                "tasks share a trunk."
            )

    def _measure(
        self, call: Call, graph: Graph, *, keep: bool, heads_too: bool
    ) -> list[tuple[Tensor, Tensor, int | None]]:
        """Fills the rows; returns (leaf, gradient, task) of the heads if they are wanted."""
        self.rows.open(len(call.losses.names), graph.columns)
        parts: list[tuple[Tensor, Tensor, int | None]] = []
        sources = self._sources(call, graph, keep, heads_too, parts)
        tasks = call.losses.tasks
        for k in range(len(call.losses.names)):
            outputs = sources.outputs.get(k)
            if not outputs:
                self.rows.clear(k)
                continue
            own = [leaf for leaf, mask in graph.heads if mask >> k & 1]
            own = own if heads_too and not graph.branches else []
            gradients = torch.autograd.grad(
                outputs,
                [*graph.columns, *own],
                sources.seeds[k],
                retain_graph=keep or k != tasks[-1],
                allow_unused=True,
            )
            self.rows.fill(k, gradients[: len(graph.columns)])
            for leaf, gradient in zip(own, gradients[len(graph.columns) :], strict=True):
                if gradient is not None:
                    parts.append((leaf, gradient, k))
        return parts

    def _sources(
        self,
        call: Call,
        graph: Graph,
        keep: bool,
        heads_too: bool,
        parts: list[tuple[Tensor, Tensor, int | None]],
    ) -> Sources:
        """The losses themselves, or, with branches, the copies after one pass through all heads."""
        if not graph.branches:
            pairs = list(zip(call.losses.tasks, call.losses.tensors, strict=True))
            return Sources(
                {k: [one] for k, one in pairs}, {k: [call.seed(one)] for k, one in pairs}
            )
        weighted = self.settings.heads == "weighted"
        copies, heads = pass_heads(
            call,
            graph.found,
            graph.rest if heads_too and not weighted else [],
            keep=keep or weighted,
        )
        parts += [(leaf, gradient, None) for leaf, gradient in heads]
        sources = Sources({}, {})
        for (number, k), gradient in copies.items():
            sources.outputs.setdefault(k, []).append(graph.branches[number].representation)
            sources.seeds.setdefault(k, []).append(gradient)
        return sources

    def _weighted(self, call: Call, weights: Tensor, graph: Graph) -> None:
        backward_weighted(
            call,
            weights,
            self.settings,
            trunk=graph.trunk,
            heads=graph.rest,
            branches=graph.branches,
        )

    def _write(self, graph: Graph, gradients: Sequence[Tensor], *, owned: bool) -> None:
        """Adds the shared gradient where this update reaches; elsewhere ``.grad`` stays."""
        reached = {id(leaf) for leaf in graph.trunk}
        pairs = zip(graph.columns, gradients, strict=True)
        kept = [(leaf, gradient) for leaf, gradient in pairs if id(leaf) in reached]
        add_gradients([leaf for leaf, _ in kept], [g for _, g in kept], owned=owned)

    def _write_heads(
        self,
        call: Call,
        graph: Graph,
        parts: Sequence[tuple[Tensor, Tensor, int | None]],
        weights: Tensor,
    ) -> None:
        if self.settings.heads == "weighted":
            if graph.branches:
                torch.autograd.backward(
                    call.losses.tensors,
                    call.seeds(weights),
                    retain_graph=call.keep,
                    inputs=graph.rest,
                )
                return
            parts = [(leaf, g * weights[k].to(g), k) for leaf, g, k in parts if k is not None]
        total: dict[int, tuple[Tensor, Tensor]] = {}
        for leaf, gradient, _ in parts:
            before = total.get(id(leaf))
            total[id(leaf)] = (leaf, gradient if before is None else before[1] + gradient)
        add_gradients(
            [leaf for leaf, _ in total.values()], [g for _, g in total.values()], owned=False
        )

    def _combined(
        self,
        balance: GradientAggregator,
        call: Call,
        graph: Graph,
        parts: Sequence[tuple[Tensor, Tensor, int | None]],
    ) -> BackwardReport:
        """The update of a method that combines coordinates."""
        jacobian = self.rows.matrix
        scaled = not (isinstance(call.scale, float) and call.scale == 1.0)
        if scaled:
            jacobian.div_(call.scale)
        present = None if call.everyone else call.present.to(jacobian.device)
        direction: Tensor = balance(jacobian, call.values.to(jacobian.device), present)
        direction = direction * call.scale if scaled else direction
        flags = balance.flags | {ASSEMBLED}
        weights = balance.weights
        if weights is None:
            weights = torch.full_like(call.values, torch.nan)
            flags |= {NO_WEIGHTS}
        # A method may hand out one of its own tensors, so its memory must not become `.grad`.
        self._write(graph, self.rows.shaped(direction), owned=False)
        self._write_heads(call, graph, parts, weights)
        call.add_penalty()
        return call.report(weights, None, flags, self.settings)

    def _over_budget(
        self, balance: GramianAggregator, call: Call, graph: Graph, needed: int
    ) -> BackwardReport:
        """Norms without storing gradients, or the Gramian as a sum over groups of parameters."""
        if self.settings.update == "assembled":
            raise Unsupported(self._too_large(needed, "update='assembled' keeps"))
        flags = {ONE_BACKWARD}
        kind, device = row_format(graph.columns)
        num_tasks = len(call.losses.names)
        leaves = [*graph.trunk, *graph.rest]
        if balance.needs == "norms":
            groups = [list(graph.columns)]
        else:
            groups = self._groups(graph.columns, num_tasks)
            flags.add(OVER_BUDGET)
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"The gradients of {num_tasks} tasks need {needed} bytes, more than "
                    f"max_gradient_memory; every update walks back {len(groups)} times per task.",
                    PolytaskWarning,
                    stacklevel=5,
                )
        gramian = torch.zeros(num_tasks, num_tasks, dtype=torch.float64, device=device)
        with hooks_at_rest(leaves):
            sources = self._sources(call, graph, keep=True, heads_too=False, parts=[])
            for columns in groups:
                if balance.needs != "norms":
                    self.rows.open(num_tasks, columns)
                for k in range(num_tasks):
                    gradients: Sequence[Tensor | None] = [None] * len(columns)
                    if sources.outputs.get(k):
                        gradients = torch.autograd.grad(
                            sources.outputs[k],
                            columns,
                            sources.seeds[k],
                            retain_graph=True,
                            allow_unused=True,
                        )
                    if balance.needs != "norms":
                        self.rows.fill(k, gradients)
                        continue
                    for gradient in gradients:
                        if gradient is not None:
                            length = torch.linalg.vector_norm(gradient, dtype=torch.float64)
                            gramian[k, k] += length.square()
                if balance.needs != "norms":
                    gramian += self.rows.gramian()
        gramian = call.unscaled(gramian)
        weights = weigh(balance, gramian, call, kind)
        self._weighted(call, weights, graph)
        return call.report(weights, gramian, balance.flags | flags, self.settings)

    def _groups(self, columns: Sequence[Tensor], num_tasks: int) -> list[list[Tensor]]:
        """Consecutive parameters of which the gradients of all tasks fit into the budget."""
        groups: list[list[Tensor]] = [[]]
        for column in columns:
            alone = num_tasks * row_bytes([column])
            if alone > self.settings.max_gradient_memory:
                raise Unsupported(self._too_large(alone, "one parameter alone takes"))
            grown = [*groups[-1], column]
            if num_tasks * row_bytes(grown) > self.settings.max_gradient_memory:
                groups.append([column])
            else:
                groups[-1] = grown
        return groups

    def _too_large(self, needed: int, why: str) -> str:
        return (
            f"`max_gradient_memory` must be at least the {needed} bytes of task gradients that "
            f"{why}; got {self.settings.max_gradient_memory}. Raise it, name fewer shared= "
            f"parameters, or use at='representation'."
        )


def pass_heads(
    call: Call, found: Reach, heads: Sequence[Tensor], *, keep: bool
) -> tuple[dict[tuple[int, int], Tensor], list[tuple[Tensor, Tensor]]]:
    """One pass of the summed losses: loss k depends on copy k only, so nothing gets mixed up.

    Returns:
        Gradients at the copies by (branch, task), and (leaf, gradient) of the heads.
    """
    places = [
        (number, k, GradientEdge(node, copy))
        for number, (node, branch) in enumerate(found.branches)
        for k, copy in positions_of(call, branch).items()
    ]
    gradients = torch.autograd.grad(
        call.losses.tensors,
        [*(edge for _, _, edge in places), *(get_gradient_edge(leaf) for leaf in heads)],
        call.seeds(),
        retain_graph=keep,
        allow_unused=True,
    )
    at_copies = zip(places, gradients, strict=False)
    copies = {(number, k): g for (number, k, _), g in at_copies if g is not None}
    at_heads = zip(heads, gradients[len(places) :], strict=True)
    return copies, [(leaf, g) for leaf, g in at_heads if g is not None]


def _trainable(shared: Iterable[Tensor]) -> list[Tensor]:
    """Without frozen ones; every parameter once."""
    leaves = list(dict.fromkeys(leaf for leaf in shared if leaf.requires_grad))
    if not leaves:
        raise InvalidArgument("`shared` must hold at least one trainable parameter; got none.")
    return leaves
