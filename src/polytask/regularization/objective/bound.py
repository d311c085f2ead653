"""Penalties bound to the parameters of a model and to its optimizer."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from polytask._checks import require
from polytask.optim.kinds import parameter_kinds
from polytask.optim.roles import ParameterInfo, Role

from .base import Penalty
from .conflicts import check_decay, check_metric, check_overlap, check_types
from .layout import Block, Layout, arrange, same_memory
from .scratch import Scratch
from .select import left_out
from .soft import total
from .steps import multi_tensor_steps, parameter_groups


@dataclass(frozen=True)
class PenaltySummary:
    """A penalty in plain values, for the report.

    Args:
        name: Its name.
        strength: λ.
        words: What it is, with its effective strengths, and what it has found out.
        acts: ``"prox"`` or ``"gradient"``.
        parameters: Names of the parameters on which it acts.
        left_out: Name → reason, for all others.
    """

    name: str
    strength: float
    words: str
    acts: str
    parameters: tuple[str, ...]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Zeros:
    """How many exact zeros there are under a penalty.

    Args:
        entries: Weights that are 0.
        of_entries: Weights in all.
        groups: Groups of which every weight is 0.
        of_groups: Groups in all.
    """

    entries: int
    of_entries: int
    groups: int
    of_groups: int


@final
class BoundPenalties:
    """Penalties with their parameters and optimizer: what a training step calls.

    The order of a step is: losses + `objective`, backward, ``optimizer.step()``, `prox_`, then
    averages of weights. With accumulated gradients or a scaler that skipped the step, `prox_`
    belongs to the real steps only. Frozen parameters are left alone, and so is a parameter that
    Adam has not stepped yet.

    Args:
        penalties: The penalties.
        infos: The model's parameters, as ``model.roles()`` gives them.
        optimizer: The optimizer that steps them.

    Raises:
        Unsupported: If the optimizer's metric is unknown to a proximal step, two proximal steps
            would act on one weight, or two of them exclude each other.
        InvalidArgument: If a penalty selects nothing, or a ridge term stands beside weight decay.

    Warns:
        PolytaskWarning: If a lasso term stands beside weight decay: an elastic net.

    Example:
        >>> from torch.optim import SGD
        >>> from polytask.regularization.objective.l1 import L1
        >>> layer = nn.Linear(1, 2)
        >>> _ = layer.weight.data.copy_(torch.tensor([[2.0], [0.5]]))
        >>> bound = penalise(layer, [L1(1.0)], SGD(layer.parameters(), lr=1.0))
        >>> bound.prox_()
        >>> layer.weight.flatten().tolist(), bound.values()
        ([1.0, 0.0], {'L1': 1.0})
    """

    def __init__(
        self,
        penalties: Sequence[Penalty],
        infos: Sequence[ParameterInfo],
        optimizer: Optimizer,
    ) -> None:
        check_types(penalties)
        self._optimizer = optimizer
        self._infos = tuple(infos)
        self._bound: dict[str, tuple[Penalty, Layout]] = {}
        counts: Counter[str] = Counter()
        for penalty in penalties:
            layout = arrange(infos, penalty.selector, penalty.layout)
            name = penalty.name or type(penalty).__name__
            counts[name] += 1
            self._bound[f"{name} {counts[name]}" if counts[name] > 1 else name] = (penalty, layout)
        check_overlap(list(self._bound.values()))
        # Parameters under a proximal step, once each, whatever number of penalties shares them.
        self._parameters: list[nn.Parameter] = []
        self._places: dict[int, int] = {}
        for penalty, layout in self._bound.values():
            held = [info.parameter for info in layout.infos if info.name not in layout.alone]
            if penalty.acts == "prox":
                check_metric(penalty, optimizer)
                places = parameter_groups(optimizer, held)
                groups = [optimizer.param_groups[place] for place in places]
                for parameter in held:
                    if id(parameter) not in self._places:
                        self._places[id(parameter)] = len(self._parameters)
                        self._parameters.append(parameter)
            else:
                owners = {id(p): group for group in optimizer.param_groups for p in group["params"]}
                groups = [owners.get(id(p), {"weight_decay": 0.0}) for p in held]
            members = [info for info in layout.infos if info.name not in layout.alone]
            check_decay(penalty, members, groups)
            if penalty.layout == "tasks":
                penalty.columns([block.columns for block in layout.blocks])
            penalty.start([matrix.clone() for matrix in _matrices(layout)])
        self._groups = parameter_groups(optimizer, self._parameters)
        self._views: dict[tuple[int, str], tuple[tuple[int, torch.dtype], Tensor]] = {}
        self._scratch = Scratch()

    @property
    def penalties(self) -> Mapping[str, Penalty]:
        """The penalties by their names."""
        return {name: penalty for name, (penalty, _) in self._bound.items()}

    def objective(self) -> Tensor | None:
        """The sum of the penalties that act by gradient, with its graph; None without any."""
        terms = [
            penalty.value(layout.matrices([info.parameter for info in layout.infos]))
            for penalty, layout in self._bound.values()
            if penalty.acts == "gradient"
        ]
        return total(terms) if terms else None

    @torch.no_grad()
    def prox_(self) -> None:
        """The proximal steps, in the optimizer's metric; right after ``optimizer.step()``."""
        if not self._parameters:
            return
        steps = multi_tensor_steps(self._optimizer, self._parameters, self._groups, self._scratch)
        for penalty, layout in self._bound.values():
            if penalty.acts == "prox" and penalty.strength > 0:
                self._apply(penalty, layout, steps)

    def _apply(
        self, penalty: Penalty, layout: Layout, all_steps: Sequence[Tensor | float | None]
    ) -> None:
        found = [self._step_of(layout, block, all_steps) for block in layout.blocks]
        if all(step is None for step in found):
            return
        matrices: list[Tensor] = []
        copied: list[tuple[Block, Tensor]] = []
        for block, step in zip(layout.blocks, found, strict=True):
            parameter = layout.infos[block.indices[0]].parameter
            view = None if step is None else self._view_of(block, parameter, "weight")
            if step is None:
                # Frozen, or not stepped yet: the block waits. Its penalty may know blocks by their
                # places (start points, graphs), and is given a copy with a step of 0.
                view = layout.matrix(block, _weights(layout)).clone()
            elif view is None:
                view = layout.matrix(block, _weights(layout))
                copied.append((block, view))
            matrices.append(view)
        penalty.prox_(matrices, [0.0 if step is None else step for step in found])
        for block, matrix in copied:
            layout.write_(block, _weights(layout), matrix)

    def _step_of(
        self, layout: Layout, block: Block, all_steps: Sequence[Tensor | float | None]
    ) -> Tensor | float | None:
        known: list[Tensor | float] = []
        for index in block.indices:
            parameter = layout.infos[index].parameter
            step = all_steps[self._places[id(parameter)]]
            if step is None or not parameter.requires_grad:
                return None
            known.append(step)
        first = known[0]
        if all(not isinstance(step, Tensor) and step == first for step in known):
            return first
        if len(known) == 1 and isinstance(first, Tensor):
            view = self._view_of(block, first, "step")
            if view is not None:
                return view
        full: dict[int, Tensor] = {
            index: step
            if isinstance(step, Tensor)
            else torch.full_like(layout.infos[index].parameter, step)
            for index, step in zip(block.indices, known, strict=True)
        }
        return layout.matrix(block, full)

    def _view_of(self, block: Block, tensor: Tensor, what: str) -> Tensor | None:
        """The block as a view, kept as long as the tensor's memory stays; None for a copy."""
        if len(block.pieces) > 1:
            return None
        place = (tensor.data_ptr(), tensor.dtype)
        kept = self._views.get((id(block), what))
        if kept is None or kept[0] != place:
            matrix = block.pieces[0].matrix(tensor.detach())
            if not same_memory(matrix, tensor):
                return None
            kept = self._views[id(block), what] = (place, matrix)
        return kept[1]

    @torch.no_grad()
    def values(self) -> dict[str, float]:
        """λR(w) of each penalty, computed on the weights' device."""
        if not self._bound:
            return {}
        values = [penalty.value(_matrices(layout)) for penalty, layout in self._bound.values()]
        moved = torch.stack([value.to(values[0].device, torch.float64) for value in values])
        return dict(zip(self._bound, moved.tolist(), strict=True))

    @torch.no_grad()
    def zeros(self) -> dict[str, Zeros]:
        """Exact zeros under each penalty that acts by its proximal step."""
        result: dict[str, Zeros] = {}
        for name, (penalty, layout) in self._bound.items():
            if penalty.acts == "prox":
                empty = [matrix == 0 for matrix in _matrices(layout)]
                result[name] = Zeros(
                    sum(int(block.sum()) for block in empty),
                    sum(block.numel() for block in empty),
                    sum(int(block.all(dim=1).sum()) for block in empty),
                    sum(len(block) for block in empty),
                )
        return result

    def describe(self) -> list[PenaltySummary]:
        """Each penalty with the parameters on which it acts, and why not on the others."""
        summaries = []
        for name, (penalty, layout) in self._bound.items():
            reasons = left_out(self._infos, penalty.selector) | layout.alone
            held = tuple(info.name for info in layout.infos if info.name not in reasons)
            words = "; ".join(
                filter(None, (penalty.describe(), penalty.learned(_matrices(layout))))
            )
            summaries.append(
                PenaltySummary(name, penalty.strength, words, penalty.acts, held, reasons)
            )
        return summaries

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """What the penalties need after a checkpoint, by name; those without state are absent."""
        states = {name: penalty.state_dict() for name, (penalty, _) in self._bound.items()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Takes back what `state_dict` gave.

        Raises:
            InvalidArgument: If the state belongs to other penalties.
        """
        mine = sorted(self.state_dict())
        require(sorted(state) == mine, "state", f"hold the penalties {mine}", sorted(state))
        for name, values in state.items():
            self._bound[name][0].load_state_dict(values)


def penalise(
    module: nn.Module,
    penalties: Sequence[Penalty],
    optimizer: Optimizer,
    *,
    heads: str | None = None,
    tasks: Sequence[str] = (),
) -> BoundPenalties:
    """Penalties on any module, for a training loop written by hand.

    Args:
        module: Any module; kinds of parameters are read from its layers.
        penalties: The penalties.
        optimizer: The optimizer that steps the module.
        heads: Regular expression for the names of the heads' parameters, which penalties across
            tasks select by default; everything else counts as trunk. None: all is trunk, and
            selectors tell parameters apart by name.
        tasks: Names of the tasks. A parameter in whose name one of them is a component (as in
            ``nets.age.0.weight``) is this task's own; all others belong to all tasks.

    Example:
        >>> from polytask.regularization.objective.joint_features import JointFeatures
        >>> net = nn.Linear(3, 2)
        >>> optimizer = torch.optim.Adam(net.parameters())
        >>> bound = penalise(net, [JointFeatures(0.1)], optimizer, heads=".*")
        >>> net(torch.ones(4, 3)).square().mean().backward()
        >>> optimizer.step()
        >>> bound.prox_()
    """
    kinds = parameter_kinds(module)
    everyone = frozenset(tasks) or frozenset({"all"})
    infos = [
        ParameterInfo(
            name,
            parameter,
            Role.HEAD if heads is not None and re.fullmatch(heads, name) else Role.TRUNK,
            kinds[name],
            frozenset(set(name.split(".")) & set(tasks)) or everyone,
        )
        for name, parameter in module.named_parameters()
    ]
    return BoundPenalties(penalties, infos, optimizer)


def _weights(layout: Layout) -> list[Tensor]:
    return [info.parameter.detach() for info in layout.infos]


def _matrices(layout: Layout) -> list[Tensor]:
    return layout.matrices(_weights(layout))
