"""The shared parameters: found once, checked in every update."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from torch import Tensor

from polytask.errors import InvalidArgument, Unsupported

from .branching import Branch
from .call import Call
from .checks import check_apart, check_branches
from .losses import GATHERED
from .parting import Parting, find_parting, several
from .reach import Reach, shares_a_gathered_vector, walk


@dataclass(frozen=True)
class Graph:
    """What this update's graph looks like.

    Args:
        columns: Shared parameters, in the order of the Jacobian's columns.
        trunk: Those of them that this update reaches.
        heads: Task → other leaves that its loss reaches (with a branch: all of them under None).
        branches: As found in the graph.
        found: The walk from the losses, up to the branches.
        behind: The walk from the branches; without branches the same.
        private: With branches, leaves behind them that a single task reaches, and which task: its
            own expert, gate or, where a branch copies outputs, its head.
    """

    columns: Sequence[Tensor]
    trunk: Sequence[Tensor]
    heads: Sequence[tuple[Tensor, int]]
    branches: Sequence[Branch]
    found: Reach
    behind: Reach
    private: Sequence[tuple[Tensor, int]] = ()

    @cached_property
    def parting(self) -> Parting | None:
        """Where the tasks part, for a graph without branches."""
        return None if self.branches else find_parting(self.found, self.trunk)

    @property
    def rest(self) -> list[Tensor]:
        """All leaves outside the trunk, but for the private ones."""
        return [leaf for leaf, _ in self.heads]

    @property
    def alone(self) -> list[Tensor]:
        """The private leaves."""
        return [leaf for leaf, _ in self.private]


@final
class SharedParameters:
    """Which parameters are measured, and what else an update reaches.

    Args:
        shared: Named by the user; None: those that two or more losses reach.

    Attributes:
        given: Whether the user named them.
    """

    def __init__(self, shared: Iterable[Tensor] | None) -> None:
        self.given = shared is not None
        self._columns = [] if shared is None else _distinct(shared)
        self._seen: set[int] = set()

    def read(self, call: Call) -> Graph:
        """Walks the graph and sorts its leaves."""
        found = walk(call.losses.entries)
        branches = check_branches(call, found)
        if branches:
            if self.given:
                raise Unsupported(
                    "`shared` must be None with branch(), which already says what is shared."
                )
            behind = walk([branch.representation for branch in branches], into_branches=True)
            check_apart(behind.leaves, found.leaves, "branch")
            trunk, private = self._behind(call, branches, behind)
            heads = list(zip(found.leaves, found.masks, strict=True))
            columns = self._trained() if self._columns else trunk
            return Graph(columns, trunk, heads, branches, found, behind, private)
        if not self.given:
            if shares_a_gathered_vector(call.losses.entries):
                raise Unsupported(GATHERED)
            if self.too_early(call):
                return Graph(found.leaves, found.leaves, [], (), found, found)
            pairs = zip(found.leaves, found.masks, strict=True)
            alone = len(call.losses.names) == 1  # then all of it is the trunk
            self._learn(call.losses.tasks, [leaf for leaf, mask in pairs if alone or several(mask)])
        columns = self._trained()
        shared = {id(leaf) for leaf in columns}
        trunk, heads = [], []
        for leaf, mask in zip(found.leaves, found.masks, strict=True):
            if id(leaf) in shared:
                trunk.append(leaf)
            else:
                heads.append((leaf, mask))
        if self.given and not trunk and call.everyone:
            raise InvalidArgument(
                "`shared` must hold parameters that the losses reach; they reach none of them. "
                "Name those of the model from which the losses were computed."
            )
        return Graph(columns, trunk, heads, (), found, found)

    def _trained(self) -> list[Tensor]:
        """The shared parameters without those that are frozen at the moment."""
        trained = [leaf for leaf in self._columns if leaf.requires_grad]
        if not trained:
            raise InvalidArgument(
                "All shared parameters are frozen, so there is nothing to balance. Sum the losses "
                "and call backward() instead, or leave one of them trainable."
            )
        return trained

    def _behind(
        self, call: Call, branches: Sequence[Branch], behind: Reach
    ) -> tuple[list[Tensor], list[tuple[Tensor, int]]]:
        """What several tasks reach behind the branches, and what one task has for itself."""
        known = {id(leaf) for leaf in self._columns}
        alone = private_leaves(call, branches, behind)
        private = [(leaf, task) for leaf, task in alone if id(leaf) not in known]
        apart = {id(leaf) for leaf, _ in private}
        trunk = [leaf for leaf in behind.leaves if id(leaf) not in apart]
        if self.too_early(call):
            return list(behind.leaves), []
        self._learn(call.losses.tasks, trunk)
        return trunk, private

    def expect(self, parameters: Iterable[Tensor]) -> None:
        """What the model says its tasks share, before any update has shown it."""
        if not self.given:
            self._columns = list(dict.fromkeys(parameters))

    def too_early(self, call: Call) -> bool:
        """Whether nothing is known and one of several tasks is alone: all it reaches is its trunk,
        this time, because nobody can tell yet what will be shared.
        """
        return not self._columns and len(call.losses.tasks) == 1 < len(call.losses.names)

    def settle(self, tasks: Sequence[int], found: Sequence[Tensor]) -> Sequence[Tensor]:
        """The shared parameters, if these are those that several of these tasks reach."""
        if not self.given:
            self._learn(tasks, found)
        return self._trained()

    def state_dict(self, parameters: Sequence[Tensor]) -> dict[str, list[int]]:
        """What earlier updates showed: positions in `parameters`, and the tasks seen."""
        places = {id(parameter): place for place, parameter in enumerate(parameters)}
        columns = [places[id(leaf)] for leaf in self._columns if id(leaf) in places]
        return {"columns": columns, "seen": sorted(self._seen)}

    def load_state_dict(
        self, state_dict: Mapping[str, Sequence[int]], parameters: Sequence[Tensor]
    ) -> None:
        """The inverse of `state_dict`; parameters that the user named stay as they are."""
        if not self.given:
            self._columns = [parameters[place] for place in state_dict["columns"]]
        self._seen = set(state_dict["seen"])

    def _learn(self, present: Sequence[int], found: Sequence[Tensor]) -> None:
        """Keeps the shared parameters of the first update; adds what new tasks share."""
        known = {id(leaf) for leaf in self._columns}
        new = [leaf for leaf in found if id(leaf) not in known]
        tasks = set(present)
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


def private_leaves(
    call: Call, branches: Sequence[Branch], behind: Reach
) -> list[tuple[Tensor, int]]:
    """Leaves behind the branches that a single task reaches, and which task."""
    pairs = [
        (leaf, only_task(call, [b for j, b in enumerate(branches) if mask >> j & 1]))
        for leaf, mask in zip(behind.leaves, behind.masks, strict=True)
    ]
    return [(leaf, task) for leaf, task in pairs if task is not None]


def only_task(call: Call, branches: Sequence[Branch]) -> int | None:
    """The task that all these branches serve, or None if they serve several.

    Absent tasks count: what they reach is shared although nobody else reaches it this time.
    """
    if not call.losses.keyed:
        places = {k for branch in branches for k in range(len(branch.tasks))}
    else:
        numbers = {name: k for k, name in enumerate(call.losses.names)}
        places = {numbers[name] for branch in branches for name in branch.tasks}
    return next(iter(places)) if len(places) == 1 and len(call.losses.names) > 1 else None


def _distinct(shared: Iterable[Tensor]) -> list[Tensor]:
    """Every parameter once; frozen ones too, because they may be released later."""
    leaves = list(dict.fromkeys(shared))
    if not any(leaf.requires_grad for leaf in leaves):
        raise InvalidArgument("`shared` must hold at least one trainable parameter; got none.")
    return leaves
