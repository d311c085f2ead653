"""The task gradients of the shared parameters: measured one task at a time."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polytask.aggregation import GradientAggregator, GramianAggregator
from polytask.errors import PolytaskWarning, Unsupported

from .call import Call, Settings, backward_weighted, ready_weights, weigh
from .heads import Part, pass_heads, write_heads
from .leaves import add_gradients, has_hooks, hooks_at_rest
from .report import ASSEMBLED, NO_WEIGHTS, ONE_BACKWARD, OVER_BUDGET, BackwardReport
from .rows import Rows, row_bytes, row_format
from .shared import Graph, SharedParameters


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
        self._shared = SharedParameters(shared)
        self._warned = False

    def run(self, balance: GramianAggregator | GradientAggregator, call: Call) -> BackwardReport:
        """Measures, asks the method and fills ``.grad``."""
        graph = self._shared.read(call)
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
        write_heads(call, parts, weights, self.settings, graph.rest, branched=bool(graph.branches))
        call.add_penalty()
        return call.report(weights, gramian, balance.flags | {ASSEMBLED}, self.settings)

    def _measure(self, call: Call, graph: Graph, *, keep: bool, heads_too: bool) -> list[Part]:
        """Fills the rows; returns (leaf, gradient, task) of the heads if they are wanted."""
        self.rows.open(len(call.losses.names), graph.columns)
        parts: list[Part] = []
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
        parts: list[Part],
    ) -> Sources:
        """The losses themselves, or, with branches, the copies after one pass through all heads."""
        if not graph.branches:
            triples = zip(call.losses.tasks, call.losses.tensors, call.seeds(), strict=True)
            sources = Sources({}, {})
            for k, loss, seed in triples:
                sources.outputs[k], sources.seeds[k] = [loss], [seed]
            return sources
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

    def _combined(
        self,
        balance: GradientAggregator,
        call: Call,
        graph: Graph,
        parts: Sequence[Part],
    ) -> BackwardReport:
        """The update of a method that combines coordinates."""
        jacobian = self.rows.matrix
        if call.scaled:
            jacobian.div_(call.scale)
        present = None if call.everyone else call.present.to(jacobian.device)
        direction: Tensor = balance(jacobian, call.values.to(jacobian.device), present)
        direction = direction * call.scale if call.scaled else direction
        flags = balance.flags | {ASSEMBLED}
        weights = balance.weights
        if weights is None:
            weights = torch.full_like(call.values, torch.nan)
            flags |= {NO_WEIGHTS}
        # A method may hand out one of its own tensors, so its memory must not become `.grad`.
        self._write(graph, self.rows.shaped(direction), owned=False)
        write_heads(call, parts, weights, self.settings, graph.rest, branched=bool(graph.branches))
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
