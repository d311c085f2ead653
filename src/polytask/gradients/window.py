"""Several micro-batches, one update: task gradients add up and the method is asked once."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from polytask.aggregation import GramianAggregator
from polytask.balancing import LinearBalancer, LossBalancer
from polytask.errors import InvalidArgument, Unsupported

from .at_parameters import AtParameters, Taken
from .call import Call, Settings
from .checks import Balance, check_branches
from .leaves import add_gradients, hooks_at_rest
from .loss_level import backward_with, loss_weights
from .losses import GATHERED, Losses
from .reach import shares_a_gathered_vector, walk
from .report import ASSEMBLED, HEADS_WEIGHTED, ONE_BACKWARD, ONE_BY_ONE, BackwardReport
from .rows import row_bytes
from .shared import Graph, private_leaves


@final
class Window:
    """The micro-batches of one update.

    Weights that are known beforehand and reach every parameter alike (a loss balancer whose weights
    do not depend on the losses) are one ordinary backward pass per micro-batch. Otherwise the
    gradient of every task at every parameter that it reaches is kept until `finish`: only then is
    it known which parameters several tasks share, because a task may have labels in one micro-batch
    and another task in the next.

    Args:
        balance: The method.
        settings: What the user chose.
        parameters: The engine at the parameters.
        counts: Labels of each task in the whole window, [tasks].
        names: Of the tasks.
        keyed: Whether losses come as a mapping.
        scale: Factor of every gradient.
    """

    def __init__(
        self,
        balance: Balance,
        settings: Settings,
        parameters: AtParameters,
        counts: Tensor,
        names: tuple[str, ...],
        *,
        keyed: bool,
        scale: Tensor | float,
    ) -> None:
        self.counts = counts
        self.names = names
        self.scale = scale
        self._balance = balance
        self._settings = settings
        self._parameters = parameters
        self._keyed = keyed
        self._present = counts > 0
        self.here: list[bool] = self._present.tolist()
        self._values = torch.zeros_like(counts)
        self._table: dict[int, tuple[Tensor, dict[int, Tensor]]] = {}
        self._trunk: set[int] = set()
        self._heads: set[int] = set()
        self._known: Tensor | None = None
        self._flags: frozenset[str] = frozenset()
        if isinstance(balance, LinearBalancer):
            self._known = balance.weights(self._present, counts, counts.dtype)
        elif settings.update == "backward":
            raise Unsupported(
                "`update` must be 'auto' or 'assembled' in an accumulation window, whose graphs "
                "are gone when the weights are known; got 'backward'."
            )

    def add(self, call: Call) -> None:
        """One micro-batch; its losses are sums divided by the counts of the window."""
        self._values += call.values
        if self._known is not None:
            self._flags |= backward_with(self._known, call, self._settings)
            return
        if call.losses.tasks:
            self._keep(call)
        call.add_penalty()

    def finish(self, reduce: Callable[[Tensor], object] | None) -> BackwardReport:
        """Asks the method and fills ``.grad``; `reduce` sums a tensor over processes, in place."""
        if reduce is not None:
            total = self._values.double()  # a process without labels does not know the dtype
            reduce(total)
            self._values = total.to(self._values)
        if self._known is not None:
            flags = self._flags | {ONE_BACKWARD}
            return BackwardReport(self._known.to(self._values), None, self._present, flags)
        if isinstance(self._balance, LossBalancer) and any(self.here):
            return self._by_losses(self._balance)
        parts = [
            None if not here else value
            for here, value in zip(self.here, self._values.unbind(), strict=True)
        ]
        losses = Losses(self.names, tuple(parts), self._keyed)
        call = Call(losses, self._values, self._present, self.scale, None)
        if not (self._table or (reduce is not None and losses.tasks)):
            return call.report(
                torch.zeros_like(self._values), None, frozenset({"no-tasks"}), self._settings
            )
        return self._by_gradients(self._balance, call, reduce)

    def _keep(self, call: Call) -> None:
        """Adds the gradients of every task to the table."""
        found = walk(call.losses.entries)
        branches = check_branches(call, found)
        if not branches and shares_a_gathered_vector(call.losses.entries):
            raise Unsupported(GATHERED)
        reach = walk([branch.representation for branch in branches], into_branches=True)
        behind = list(reach.leaves)
        private = {id(leaf) for leaf, _ in private_leaves(call, branches, reach)}
        self._trunk |= {id(leaf) for leaf in behind} - private
        if branches:
            self._heads |= {id(leaf) for leaf in found.leaves}
        leaves = [*found.leaves, *behind]
        tasks = call.losses.tasks
        with hooks_at_rest(leaves):
            for k, loss, seed in zip(tasks, call.losses.tensors, call.seeds(), strict=True):
                pairs = zip(found.leaves, found.masks, strict=True)
                own = [*(leaf for leaf, mask in pairs if mask >> k & 1), *behind]
                gradients = torch.autograd.grad(
                    [loss],
                    [get_gradient_edge(leaf) for leaf in own],
                    [seed],
                    retain_graph=call.keep or k != tasks[-1],
                    allow_unused=True,
                )
                for leaf, gradient in zip(own, gradients, strict=True):
                    if gradient is not None:
                        self._add(k, leaf, gradient)
        kept = [leaf for leaf, by_task in self._table.values() if len(by_task) > 1]
        if kept:
            self._parameters.require(len(self.names) * row_bytes(kept), "a window adds up")

    def _add(self, k: int, leaf: Tensor, gradient: Tensor) -> None:
        _, by_task = self._table.setdefault(id(leaf), (leaf, {}))
        before = by_task.get(k)
        if before is None:
            # Another parameter's gradient, or a part of the graph, may share this memory.
            by_task[k] = gradient.clone()
        else:
            before.add_(gradient)

    def _by_losses(self, balance: LossBalancer) -> BackwardReport:
        """Weights from the losses of the whole window."""

        def seed(objective: Tensor) -> Tensor:
            start = torch.ones_like(objective)
            return start * self.scale

        weights = loss_weights(balance, self._values, self._present, self.counts, seed)
        flags = {ASSEMBLED, ONE_BY_ONE}
        alone = self._heads if self._settings.heads == "one" else set()
        if not alone:
            flags.add(HEADS_WEIGHTED)
        for key, (leaf, by_task) in self._table.items():
            total = torch.zeros_like(leaf)
            for k, gradient in by_task.items():
                total += gradient if key in alone else gradient * weights[k].to(gradient)
            add_gradients([leaf], [total], owned=True)
        self._table.clear()
        return BackwardReport(weights, None, self._present, frozenset(flags))

    def _by_gradients(
        self, balance: Balance, call: Call, reduce: Callable[[Tensor], object] | None
    ) -> BackwardReport:
        """Weights, or an update, from the task gradients of the whole window."""
        assert not isinstance(balance, LossBalancer)
        together = [
            leaf
            for key, (leaf, by_task) in self._table.items()
            if key in self._trunk or (key not in self._heads and len(by_task) > 1)
        ]
        shared = self._parameters.shared
        too_early = shared.too_early(call)
        if len(self.names) == 1 or too_early:
            together = [leaf for key, (leaf, _) in self._table.items() if key not in self._heads]
        columns = together if too_early else shared.settle(call.losses.tasks, together)
        rows = self._parameters.rows
        rows.open(len(self.names), columns)
        rows.matrix.zero_()
        trunk = [one for one in columns if reduce is not None or id(one) in self._table]
        for number, column in enumerate(columns):
            _, by_task = self._table.pop(id(column), (column, {}))
            for k, gradient in by_task.items():
                rows.write(k, number, gradient)
        if reduce is not None:
            reduce(rows.matrix)
        parts = [(leaf, g, k) for leaf, by_task in self._table.values() for k, g in by_task.items()]
        heads = [(leaf, 0) for leaf, _ in self._table.values()]
        self._table.clear()
        nothing = walk([])
        graph = Graph(columns, trunk, heads, (), nothing, nothing)
        tasks = call.losses.tasks
        ready = None
        gramian = rows.matrix.new_zeros(0)
        if isinstance(balance, GramianAggregator):
            ready = balance.ready_weights(self._present)
            if ready is None:
                gramian = rows.gramian(tasks)
                if balance.needs == "norms":
                    gramian = torch.diag(gramian.diagonal())
        return self._parameters.settle(
            balance,
            call,
            graph,
            Taken(
                gramian,
                frozenset({ONE_BY_ONE}),
                self._parameters.mix_of_rows(graph),
                parts,
            ),
            ready,
        )


def read_counts(counts: Sequence[Tensor | float], like: Tensor) -> Tensor:
    """Counts as one vector.

    Raises:
        InvalidArgument: If one is negative or not finite.
    """
    vector = torch.stack([torch.as_tensor(c, device=like.device).reshape(()) for c in counts])
    vector = vector.to(like.dtype)
    if not bool(((vector >= 0) & torch.isfinite(vector)).all()):
        raise InvalidArgument(
            f"`counts` must be at least 0, one per task for the whole window; got "
            f"{vector.tolist()}."
        )
    return vector
