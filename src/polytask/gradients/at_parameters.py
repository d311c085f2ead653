"""The task gradients of the shared parameters: which way they are taken, what becomes of them.

| asked for | way | file |
|---|---|---|
| nothing (weights are ready) | one backward pass | call |
| norms | one task at a time, nothing kept | one_by_one |
| Gramian, linear trunk that saves arithmetic | one batched pass | together, layers |
| Gramian, else | one task at a time, kept in rows | one_by_one, rows |
| Gramian over the budget | part by part, nothing kept | part_by_part |
| coordinates | one task at a time, kept in rows | one_by_one, rows |
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polytask.aggregation import GradientAggregator, GramianAggregator
from polytask.errors import PolytaskWarning, Unsupported

from .call import Call, Settings, backward, backward_weighted, ready_weights, weigh
from .heads import Part, write_heads
from .leaves import add_gradients, has_hooks, hooks_at_rest
from .one_by_one import fill_rows, squared_norms
from .part_by_part import cut, gramian_by_parts
from .report import (
    ASSEMBLED,
    NO_WEIGHTS,
    ONE_BACKWARD,
    ONE_BY_ONE,
    OVER_BUDGET,
    TOGETHER,
    BackwardReport,
)
from .rows import Rows, row_bytes, row_format
from .shared import Graph, SharedParameters
from .sources import Sources, from_branches, from_losses, from_where_tasks_part
from .together import Plan, Together, plan_of

Mix = Callable[[Tensor], list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Taken:
    """What the ways of taking task gradients have in common.

    Args:
        gramian: Of gradients under the scale, in float64.
        flags: Which way it was.
        mix: Weights → (parameter, Σ_k w_k gradient of task k); None: gradients were not kept.
        parts: Gradients of heads that were met on the way.
    """

    gramian: Tensor
    flags: frozenset[str]
    mix: Mix | None = None
    parts: Sequence[Part] = ()


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
        self.shared = SharedParameters(shared)
        self._warned = False

    def run(self, balance: GramianAggregator | GradientAggregator, call: Call) -> BackwardReport:
        """Measures, asks the method and fills ``.grad``."""
        ready = None
        if isinstance(balance, GramianAggregator):
            ready = ready_weights(balance, call)
            if ready is not None and ready.device.type == "cpu" and bool((ready == 1).all()):
                # Trunk and heads get the same weight: no need to know which is which.
                backward(call.losses.tensors, call.seeds(), keep=call.keep)
                call.add_penalty()
                return call.report(ready, None, balance.flags | {ONE_BACKWARD}, self.settings)
        graph = self.shared.read(call)
        if ready is not None:
            self._weighted(call, ready, graph)
            return call.report(ready, None, balance.flags | {ONE_BACKWARD}, self.settings)
        leaves = [*graph.trunk, *graph.rest, *graph.alone]
        assembled = self._assembled(leaves)
        with hooks_at_rest(leaves):
            taken = self._take(balance, call, graph, assembled=assembled)
        return self.settle(balance, call, graph, taken)

    def settle(
        self,
        balance: GramianAggregator | GradientAggregator,
        call: Call,
        graph: Graph,
        taken: Taken,
        ready: Tensor | None = None,
    ) -> BackwardReport:
        """Asks the method for weights, unless they are ready, and fills ``.grad``."""
        if isinstance(balance, GradientAggregator):
            return self._combined(balance, call, graph, taken)
        gramian = None if ready is not None else call.unscaled(taken.gramian)
        if gramian is None:
            assert ready is not None
            weights = ready.to(call.values.device)
        else:
            weights = weigh(balance, gramian, call, row_format(graph.columns)[0])
        flags = balance.flags | taken.flags
        if taken.mix is None:
            self._weighted(call, weights, graph)
            return call.report(weights, gramian, flags | {ONE_BACKWARD}, self.settings)
        self._write(graph, taken.mix(weights), owned=True)
        self._write_heads(call, taken.parts, weights, graph)
        call.add_penalty()
        return call.report(weights, gramian, flags | {ASSEMBLED}, self.settings)

    def mix_of_rows(self, graph: Graph) -> Mix:
        """The weighted sum of what the rows hold."""
        return lambda weights: list(zip(graph.columns, self.rows.mixed(weights), strict=True))

    def _take(
        self,
        balance: GramianAggregator | GradientAggregator,
        call: Call,
        graph: Graph,
        *,
        assembled: bool,
    ) -> Taken:
        """Takes the task gradients in the way that suits the method, the trunk and the budget."""
        num_tasks, budget = len(call.losses.names), self.settings.max_gradient_memory
        needed = num_tasks * row_bytes(graph.columns)
        if isinstance(balance, GradientAggregator):
            self.require(needed, f"{type(balance).__name__} needs at once")
            return self._rows(call, graph, assembled=True)
        if balance.needs == "norms" and self.settings.update != "assembled":
            sources, _ = self._sources(call, graph, keep=True, heads_too=False, split=False)
            squares = squared_norms(num_tasks, graph, sources, graph.columns[0])
            return Taken(torch.diag(squares), frozenset({ONE_BY_ONE}))
        plan = plan_of(graph, len(call.losses.tasks))
        if plan is not None and plan.bytes <= budget:
            return self._together(call, graph, plan, assembled=assembled)
        if needed <= budget:
            return self._rows(call, graph, assembled=assembled)
        if self.settings.update == "assembled":
            self.require(needed, "update='assembled' keeps")
        return self._by_parts(call, graph, needed)

    def _assembled(self, leaves: Sequence[Tensor]) -> bool:
        update = self.settings.update
        return update == "assembled" or (
            update == "auto" and not any(has_hooks(leaf) for leaf in leaves)
        )

    def _rows(self, call: Call, graph: Graph, *, assembled: bool) -> Taken:
        self.rows.open(len(call.losses.names), graph.columns)
        keep = call.keep or not assembled
        sources, parts = self._sources(call, graph, keep=keep, heads_too=assembled, split=False)
        more = fill_rows(self.rows, call, graph, sources, keep=keep, heads_too=assembled)

        return Taken(
            self.rows.gramian(call.losses.tasks),
            frozenset({ONE_BY_ONE}),
            self.mix_of_rows(graph) if assembled else None,
            [*parts, *more],
        )

    def _together(self, call: Call, graph: Graph, plan: Plan, *, assembled: bool) -> Taken:
        keep = call.keep or not assembled
        sources, parts = self._sources(call, graph, keep=keep, heads_too=assembled)
        tasks = call.losses.tasks
        taken = Together(plan, sources, tasks, len(call.losses.names), keep=keep)
        mix = taken.mixed if assembled else None
        return Taken(taken.gramian(), frozenset({TOGETHER}), mix, parts)

    def _by_parts(self, call: Call, graph: Graph, needed: int) -> Taken:
        num_tasks, budget = len(call.losses.names), self.settings.max_gradient_memory
        largest = max(num_tasks * row_bytes([column]) for column in graph.columns)
        self.require(largest, "one parameter alone takes")
        sources, _ = self._sources(call, graph, keep=True, heads_too=False)
        stretches = cut(graph, sources, num_tasks, budget)
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"The gradients of {num_tasks} tasks need {needed} bytes, more than "
                f"max_gradient_memory: the trunk is walked back in {len(stretches)} parts, and "
                f"every update takes one more backward pass.",
                PolytaskWarning,
                stacklevel=6,
            )
        gramian = gramian_by_parts(self.rows, call, sources, stretches)
        return Taken(gramian, frozenset({OVER_BUDGET}))

    def _sources(
        self, call: Call, graph: Graph, *, keep: bool, heads_too: bool, split: bool = True
    ) -> tuple[Sources, list[Part]]:
        """Where the tasks start, and gradients of heads that were met on the way.

        Args:
            call: The update.
            graph: Its graph.
            keep: Whether the graph of the heads is needed again.
            heads_too: Whether their gradients are wanted.
            split: Without a branch, find where the tasks part. Not worth it where every task is
                walked back on its own anyway.
        """
        if graph.branches:
            # One pass through all heads cannot tell whose gradient it was: weights need another.
            weighted = self.settings.heads == "weighted"
            wanted = graph.rest if heads_too and not weighted else []
            return from_branches(call, graph, wanted, keep=keep or weighted)
        if split and graph.parting is not None:
            heads = graph.heads if heads_too else []
            return from_where_tasks_part(call, graph.parting, heads, keep=keep)
        return from_losses(call), []

    def _write_heads(
        self, call: Call, parts: Sequence[Part], weights: Tensor, graph: Graph
    ) -> None:
        branched = bool(graph.branches)
        write_heads(call, parts, weights, self.settings, graph.rest, branched=branched)

    def _weighted(self, call: Call, weights: Tensor, graph: Graph) -> None:
        backward_weighted(
            call,
            weights,
            self.settings,
            trunk=graph.trunk,
            heads=graph.rest,
            branches=graph.branches,
            private=graph.alone,
            parting=graph.parting,
        )

    def _write(self, graph: Graph, pairs: Iterable[tuple[Tensor, Tensor]], *, owned: bool) -> None:
        """Adds the shared gradient where this update reaches; elsewhere ``.grad`` stays."""
        reached = {id(leaf) for leaf in graph.trunk}
        kept = [(leaf, gradient) for leaf, gradient in pairs if id(leaf) in reached]
        add_gradients([leaf for leaf, _ in kept], [g for _, g in kept], owned=owned)

    def _combined(
        self,
        balance: GradientAggregator,
        call: Call,
        graph: Graph,
        taken: Taken,
    ) -> BackwardReport:
        """The update of a method that combines coordinates."""
        jacobian = self.rows.matrix
        if call.scaled:
            jacobian.div_(call.scale)
        present = None if call.everyone else call.present.to(jacobian.device)
        direction: Tensor = balance(jacobian, call.values.to(jacobian.device), present)
        direction = direction * call.scale if call.scaled else direction
        flags = balance.flags | taken.flags | {ASSEMBLED}
        weights = balance.weights
        if weights is None:
            weights = torch.full_like(call.values, torch.nan)
            flags |= {NO_WEIGHTS}
        # A method may hand out one of its own tensors, so its memory must not become `.grad`.
        shaped = zip(graph.columns, self.rows.shaped(direction), strict=True)
        self._write(graph, shaped, owned=False)
        self._write_heads(call, taken.parts, weights, graph)
        call.add_penalty()
        return call.report(weights, None, flags, self.settings)

    def require(self, needed: int, why: str) -> None:
        """Refuses what the budget cannot hold."""
        if needed > self.settings.max_gradient_memory:
            raise Unsupported(
                f"`max_gradient_memory` must be at least the {needed} bytes of task gradients that "
                f"{why}; got {self.settings.max_gradient_memory}. Raise it, name fewer shared= "
                f"parameters, or use at='representation'."
            )
