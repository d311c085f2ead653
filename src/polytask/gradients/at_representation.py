"""The task gradients of the shared representation: one pass through the trunk."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from polytask.aggregation import GradientAggregator, GramianAggregator
from polytask.errors import InvalidArgument, Unsupported

from .branching import Branch
from .call import Call, Settings, backward, backward_weighted, ready_weights, weigh
from .checks import check_apart, check_branches
from .heads import Part, pass_heads, write_heads
from .leaves import hooks_at_rest
from .losses import GATHERED
from .reach import Reach, edge_of, shares_a_gathered_vector, walk
from .report import NO_WEIGHTS, ONE_BACKWARD, BackwardReport
from .rows import Rows, row_bytes, row_format
from .shared import only_task


@final
class AtRepresentation:
    """Task gradients at the taps, or at the branches of the graph.

    Args:
        settings: What the user chose.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rows = Rows()

    def run(
        self,
        balance: GramianAggregator | GradientAggregator,
        call: Call,
        taps: Sequence[Tensor],
    ) -> BackwardReport:
        """Measures, asks the method, mixes, and walks the trunk once."""
        places, found, trunk, branches = self._read(call, taps)
        heads = list(found.leaves)
        if isinstance(balance, GramianAggregator):
            ready = ready_weights(balance, call)
            if ready is not None:
                backward_weighted(
                    call, ready, self.settings, trunk=trunk, heads=heads, branches=branches
                )
                return call.report(ready, None, balance.flags | {ONE_BACKWARD}, self.settings)
        needed = len(call.losses.names) * row_bytes(places)
        if needed > self.settings.max_gradient_memory:
            raise Unsupported(
                f"`max_gradient_memory` must be at least the {needed} bytes of task gradients at "
                f"the representation; got {self.settings.max_gradient_memory}. Raise it or use "
                f"smaller batches."
            )
        with hooks_at_rest([*trunk, *heads]):
            parts = self._measure(call, places, found, branches)
        gramian = None
        flags = frozenset({ONE_BACKWARD})
        if isinstance(balance, GramianAggregator):
            gramian = call.unscaled(self.rows.gramian(call.losses.tasks))
            weights = weigh(balance, gramian, call, row_format(places)[0])
            mixed = self.rows.mixed(weights)
        else:
            jacobian = self.rows.matrix
            jacobian.div_(call.scale)
            present = None if call.everyone else call.present.to(jacobian.device)
            direction: Tensor = balance(jacobian, call.values.to(jacobian.device), present)
            mixed = self.rows.shaped(direction * call.scale)
            weights = torch.full_like(call.values, torch.nan)
            if balance.weights is None:
                flags |= {NO_WEIGHTS}
            else:
                weights = balance.weights
        write_heads(call, parts, weights, self.settings, heads, branched=bool(branches))
        gradients = [g.to(place.dtype) for g, place in zip(mixed, places, strict=True)]
        backward(places, gradients, keep=call.keep)
        call.add_penalty()
        return call.report(weights, gramian, balance.flags | flags, self.settings)

    def _read(
        self, call: Call, taps: Sequence[Tensor]
    ) -> tuple[list[Tensor], Reach, list[Tensor], list[Branch]]:
        """(where to measure, what is behind, the trunk before, branches)."""
        if not taps:
            found = walk(call.losses.entries)
            branches = check_branches(call, found)
            if not branches:
                raise InvalidArgument(
                    "`taps` must hold the shared representation with at='representation'; got "
                    "none. Pass taps=(z,), or put polytask.branch between trunk and heads."
                )
            if any(only_task(call, [branch]) is not None for branch in branches):
                raise Unsupported(
                    "`at` must be 'parameters' here: a branch serves one task only, so there is no "
                    "representation that the tasks share; got 'representation'."
                )
            before = walk([branch.representation for branch in branches], into_branches=True)
            check_apart(before.leaves, found.leaves, "branch")
            places = [branch.representation for branch in branches]
            return places, found, list(before.leaves), branches
        if shares_a_gathered_vector(call.losses.entries):
            raise Unsupported(GATHERED)
        if not all(tap.requires_grad for tap in taps):
            raise InvalidArgument("`taps` must depend on trainable parameters; one does not.")
        edges = [edge_of(tap) for tap in taps]
        found = walk(call.losses.entries, stops=edges, into_branches=True)
        if not found.met:
            raise InvalidArgument(
                "`taps` must be the very tensors from which the losses were computed; the losses "
                "do not depend on them."
            )
        for tap, edge in zip(taps, edges, strict=True) if len(taps) > 1 else ():
            others = [other for other in edges if other != edge]
            if walk([tap], stops=others, into_branches=True).met:
                raise InvalidArgument("`taps` must not depend on each other; one does.")
        before = walk(list(taps), into_branches=True)
        check_apart(before.leaves, found.leaves, "tap")
        for leaf, mask in zip(found.leaves, found.masks, strict=True):
            if mask & (mask - 1):
                raise Unsupported(
                    f"A parameter of shape {list(leaf.shape)} is shared by several losses but not "
                    f"behind the taps, so it would have no weights. Add a tap for it or use "
                    f"at='parameters'."
                )
        return list(taps), found, list(before.leaves), []

    def _measure(
        self, call: Call, places: Sequence[Tensor], found: Reach, branches: Sequence[Branch]
    ) -> list[Part]:
        """Fills the rows; returns (leaf, gradient, task) of the heads."""
        self.rows.open(len(call.losses.names), places)
        if branches:
            weighted = self.settings.heads == "weighted"
            copies, heads = pass_heads(
                call, found, [] if weighted else found.leaves, keep=call.keep or weighted
            )
            for k in range(len(call.losses.names)):
                self.rows.fill(k, [copies.get((number, k)) for number in range(len(places))])
            return [(leaf, gradient, None) for leaf, gradient in heads]
        parts: list[Part] = []
        seeds = dict(zip(call.losses.tasks, call.seeds(), strict=True))
        for k, loss in enumerate(call.losses.entries):
            if loss is None:
                self.rows.clear(k)
                continue
            own = [
                leaf for leaf, mask in zip(found.leaves, found.masks, strict=True) if mask >> k & 1
            ]
            gradients = torch.autograd.grad(
                [loss], [*places, *own], [seeds[k]], retain_graph=True, allow_unused=True
            )
            self.rows.fill(k, gradients[: len(places)])
            own_gradients = zip(own, gradients[len(places) :], strict=True)
            parts += [(leaf, g, k) for leaf, g in own_gradients if g is not None]
        return parts
