"""One multi-task backward pass, for loops written by hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, final

import torch
from torch import Tensor

from polytask._checks import one_of, positive, require
from polytask.balancing import LossBalancer
from polytask.errors import InvalidArgument, Unsupported

from .at_parameters import AtParameters
from .at_representation import AtRepresentation
from .call import Call, Heads, Settings, Update
from .checks import Balance, check_method
from .loss_level import at_losses
from .losses import promoted, read_losses
from .report import BackwardReport
from .window import Window, read_counts


@final
class MultiTaskBackward:
    """Replaces ``loss.backward()`` where several tasks share parameters.

    Calling it adds to ``.grad`` of every parameter, as a backward pass does, and never steps. The
    shared parameters get d = Σ_k w_k g_k (or the update of a method that combines coordinates);
    what only one task reaches gets that task's gradient at weight 1, unless asked, because weights
    may be negative and a head would then climb its own loss. Loss balancers are one ordinary
    backward pass of their objective: their weights reach the heads too, unless a `branch` stands
    between trunk and heads.

    An object, because the memory for the task gradients is allocated once. One object serves one
    model and one list of tasks.

    Args:
        balance: The method.
        shared: Parameters whose gradients are measured and weighted; all others get their ordinary
            gradient. None: those that two or more losses reach, read from the graph of the first
            update; a task that is present for the first time later on may add some. Not for loss
            balancers.
        at: Where gradients are measured: "parameters" as in the papers, or "representation", whose
            inner products cost K passes through the heads and one through the trunk.
        heads: Weight of what only one task reaches: "one", or "weighted" (w_k; only for methods
            whose weights are never negative).
        update: "assembled" from the task gradients in memory, or one ordinary "backward" with the
            weights, which runs through the hooks of the parameters. "auto": assembled, unless a
            parameter has hooks, the task gradients exceed the budget or the method asks for norms
            only. The report's flags say which.
        max_gradient_memory: Bytes for the task gradients of the parameters; those of the
            representations between layers come on top. Over it, the trunk is walked back part by
            part, inner products are added up and gradients forgotten, at the price of one more
            backward pass (with a warning and a flag); what needs all gradients at once is refused.
            A constant, never the free memory of the moment: the path taken decides the last bits.
            Norms never hold more than the gradient of one task, unless update="assembled".

    Raises:
        InvalidArgument: An argument breaks its rule.
        Unsupported: A combination cannot be honoured; the sentence says why.

    Example:
        >>> import torch
        >>> from polytask.aggregation import MGDA
        >>> w = torch.tensor([1.0, 1.0], requires_grad=True)
        >>> step = MultiTaskBackward(MGDA())
        >>> report = step({"a": w @ torch.tensor([2.0, 0.0]), "b": w @ torch.tensor([0.0, 1.0])})
        >>> report.weights, w.grad
        (tensor([0.2000, 0.8000]), tensor([0.4000, 0.8000]))

    Note:
        The forward pass runs once and is the user's, so dropout masks and running statistics are
        those of one batch. Hooks on modules and on tensors inside the model (not on parameters) run
        once per task, or once on the gradients of all tasks where the flag "together" is set; over
        the budget, a hook on a tensor where the trunk is cut runs twice. Segments may be
        checkpointed with ``use_reentrant=False``; each task recomputes them. Compiled models allow
        several backward passes only with ``torch._functorch.config.donated_buffer = False``.
    """

    def __init__(
        self,
        balance: Balance,
        *,
        shared: Iterable[Tensor] | None = None,
        at: Literal["parameters", "representation"] = "parameters",
        heads: Heads = "one",
        update: Update = "auto",
        max_gradient_memory: int = 2**31,
    ) -> None:
        one_of("at", at, ("parameters", "representation"))
        one_of("heads", heads, ("one", "weighted"))
        one_of("update", update, ("auto", "backward", "assembled"))
        positive("max_gradient_memory", max_gradient_memory)
        self.balance = balance
        self.at = at
        self._settings = Settings(heads, update, max_gradient_memory)
        check_method(balance, self._settings, at=at, shared=shared is not None)
        self._parameters = AtParameters(self._settings, shared)
        self._representation = AtRepresentation(self._settings)
        self._names: tuple[str, ...] | None = None
        self._window: Window | None = None

    def __call__(
        self,
        losses: Mapping[str, Tensor | None] | Sequence[Tensor | None] | Tensor,
        *,
        taps: Sequence[Tensor] = (),
        penalty: Tensor | None = None,
        scale: Tensor | float = 1.0,
    ) -> BackwardReport:
        """Adds the gradients of one update to ``.grad``.

        Args:
            losses: One scalar per task, by name or in order; None for a task without labels in
                this update, which then has no vote. One stacked vector only for loss balancers.
            taps: The shared representation, for at="representation" without `branch`.
            penalty: Scalar added to the objective once, unweighted, after balancing.
            scale: Factor of all gradients, such as ``scaler.get_scale()``; methods see unscaled
                gradients and losses.

        Returns:
            Weights and geometry of the update. If anything is not finite, weights that depend on it
            are NaN and the gradient is not finite, so that a gradient scaler or a check of the norm
            skips the step.
        """
        if self._window is not None:
            raise InvalidArgument(
                "`finish` must end the accumulation window before another kind of update begins."
            )
        if taps and self.at != "representation":
            raise InvalidArgument("`taps` must be empty unless at='representation'; got some.")
        read = read_losses(losses, vector_allowed=isinstance(self.balance, LossBalancer))
        self._check_names(read.names)
        values = read.values()
        call = Call(read, values, read.present(values.device), scale, penalty)
        with torch.autocast(values.device.type, enabled=False):
            if not read.tasks and read.stacked is None:
                return self._nobody(call)
            if isinstance(self.balance, LossBalancer):
                return at_losses(self.balance, call, self._settings)
            with torch.no_grad():
                if self.at == "representation":
                    return self._representation.run(self.balance, call, taps)
                return self._parameters.run(self.balance, call)

    def accumulate(
        self,
        sums: Mapping[str, Tensor | None] | Sequence[Tensor | None],
        counts: Mapping[str, Tensor | float] | Sequence[Tensor | float],
        *,
        penalty: Tensor | None = None,
        scale: Tensor | float = 1.0,
    ) -> None:
        """One micro-batch of an update that `finish` ends; nothing is balanced before.

        The loss of a task is its sum over the window divided by its count, so several micro-batches
        are exactly one batch. Methods that weigh by gradients keep the gradients of all tasks
        meanwhile, and so do loss balancers whose weights depend on the losses: those of the whole
        window, which are known last.

        Args:
            sums: Sum of each task's losses over its labels in this micro-batch; None without any.
            counts: Labels (or their weights) of each task in the WHOLE window, the same in every
                call; a task with 0 is absent.
            penalty: As in a call, for this micro-batch.
            scale: As in a call, the same in every call.
        """
        if self.at == "representation":
            raise Unsupported(
                "`at` must be 'parameters' in an accumulation window, because a representation "
                "belongs to the rows of one micro-batch; got 'representation'."
            )
        keyed = isinstance(sums, Mapping)
        names = tuple(sums) if isinstance(sums, Mapping) else tuple(map(str, range(len(sums))))
        given = list(sums.values()) if isinstance(sums, Mapping) else list(sums)
        self._check_names(names)
        if isinstance(counts, Mapping):
            require(set(counts) == set(names), "counts", "name the tasks of `sums`", sorted(counts))
            each = [counts[name] for name in names]
        else:
            require(len(counts) == len(names), "counts", "be one per task", len(counts))
            each = list(counts)
        with torch.no_grad():
            if self._window is None:
                known = [one for one in [*given, *each] if isinstance(one, Tensor)]
                like = known[0] if known else torch.zeros(())
                like = torch.zeros((), dtype=promoted(like.dtype), device=like.device)
                self._window = Window(
                    self.balance,
                    self._settings,
                    self._parameters,
                    read_counts(each, like),
                    names,
                    keyed=keyed,
                    scale=scale,
                )
            window = self._window
        entries = [
            one / count.to(one) if one is not None and here else None
            for one, count, here in zip(given, window.counts.unbind(), window.here, strict=True)
        ]
        losses = dict(zip(names, entries, strict=True)) if keyed else entries
        read = read_losses(losses, vector_allowed=False)
        values = read.values().to(window.counts)
        call = Call(read, values, read.present(values.device), window.scale, penalty)
        with torch.autocast(values.device.type, enabled=False), torch.no_grad():
            window.add(call)

    def finish(self, reduce: Callable[[Tensor], object] | None = None) -> BackwardReport:
        """Ends the window: asks the method once and adds to ``.grad``.

        Args:
            reduce: Sums a tensor over several processes in place, such as
                ``torch.distributed.all_reduce``, where each holds a part of the rows of one window
                and `counts` are those of all together. Losses and the gradients of `shared` are
                summed before the method sees them (never their Gramians, which would lack the
                products between processes), so weights, state and the update of `shared` are the
                same everywhere. All other parameters keep the gradient of this process, as after a
                backward pass: sum these yourself. With loss balancers that is every parameter of
                the model; the balancer's own are already those of all rows.

        Raises:
            Unsupported: `reduce` without `shared`: processes without labels of a task could not
                tell what it shares.
        """
        window = self._window
        if window is None:
            raise InvalidArgument("`finish` must follow at least one `accumulate`; got none.")
        by_losses = isinstance(self.balance, LossBalancer)
        if reduce is not None and not (by_losses or self._parameters.shared.given):
            raise Unsupported(
                "`shared` must name the shared parameters where several processes `reduce` an "
                "update, because one without labels cannot read them from its graph; got None."
            )
        self._window = None
        with torch.autocast(window.counts.device.type, enabled=False), torch.no_grad():
            return window.finish(reduce)

    def expect(self, parameters: Iterable[Tensor]) -> None:
        """Names parameters that the tasks will share, for a model that knows them.

        Without it the first update tells, and one with labels of a single task cannot: all that it
        reaches counts as shared that time. Unlike with `shared`, later updates may add some, and
        `branch` may be used. No effect at="representation".

        Args:
            parameters: Those that two or more tasks reach in front of the heads; frozen ones too.
        """
        self._parameters.shared.expect(parameters)

    def state_dict(self, parameters: Sequence[Tensor]) -> dict[str, list[int]]:
        """Which parameters earlier updates have shown to be shared; the method has its own state.

        Args:
            parameters: Those of the model, always in the same order.
        """
        return self._parameters.shared.state_dict(parameters)

    def load_state_dict(
        self, state_dict: Mapping[str, Sequence[int]], parameters: Sequence[Tensor]
    ) -> None:
        """The inverse of `state_dict`, for a run that goes on as if it had not been interrupted."""
        self._parameters.shared.load_state_dict(state_dict, parameters)

    def _check_names(self, names: tuple[str, ...]) -> None:
        if self._names is None:
            if isinstance(self.balance, LossBalancer):
                made_for = self.balance.num_tasks
                require(
                    made_for == len(names), "balance", f"be made for {len(names)} tasks", made_for
                )
            self._names = names
        require(
            names == self._names,
            "losses",
            f"name the tasks of the first update in the same order, {list(self._names)}",
            list(names),
            "Give None for a task without labels.",
        )

    def _nobody(self, call: Call) -> BackwardReport:
        """No task has labels: only the penalty acts, and no state moves."""
        call.add_penalty()
        weights = torch.zeros_like(call.values)
        return call.report(weights, None, frozenset({"no-tasks"}), self._settings)


def multitask_backward(
    losses: Mapping[str, Tensor | None] | Sequence[Tensor | None] | Tensor,
    balance: Balance,
    *,
    shared: Iterable[Tensor] | None = None,
) -> BackwardReport:
    """`MultiTaskBackward` for a single call; in a loop the object saves memory traffic.

    Args:
        losses: As there.
        balance: As there.
        shared: As there.

    Example:
        >>> import torch
        >>> from polytask.aggregation import Sum
        >>> w = torch.ones(2, requires_grad=True)
        >>> multitask_backward([w.sum(), 2 * w.sum()], Sum()).weights, w.grad
        (tensor([1., 1.]), tensor([3., 3.]))
    """
    return MultiTaskBackward(balance, shared=shared)(losses)
