"""The shared parameters: found once, checked in every update."""

from collections.abc import Iterable, Sequence
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
    """

    columns: Sequence[Tensor]
    trunk: Sequence[Tensor]
    heads: Sequence[tuple[Tensor, int]]
    branches: Sequence[Branch]
    found: Reach
    behind: Reach

    @cached_property
    def parting(self) -> Parting | None:
        """Where the tasks part, for a graph without branches."""
        return None if self.branches else find_parting(self.found, self.trunk)

    @property
    def rest(self) -> list[Tensor]:
        """All leaves outside the trunk."""
        return [leaf for leaf, _ in self.heads]


@final
class SharedParameters:
    """Which parameters are measured, and what else an update reaches.

    Args:
        shared: Named by the user; None: those that two or more losses reach.
    """

    def __init__(self, shared: Iterable[Tensor] | None) -> None:
        self._given = shared is not None
        self._columns = [] if shared is None else _trainable(shared)
        self._seen: set[int] = set()

    def read(self, call: Call) -> Graph:
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
            self._learn(call.losses.tasks, trunk)
            heads = list(zip(found.leaves, found.masks, strict=True))
            return Graph(self._columns, trunk, heads, branches, found, behind)
        if not self._given:
            if shares_a_gathered_vector(call.losses.entries):
                raise Unsupported(GATHERED)
            pairs = zip(found.leaves, found.masks, strict=True)
            alone = len(call.losses.names) == 1  # then all of it is the trunk
            self._learn(call.losses.tasks, [leaf for leaf, mask in pairs if alone or several(mask)])
        columns = {id(leaf) for leaf in self._columns}
        trunk, heads = [], []
        for leaf, mask in zip(found.leaves, found.masks, strict=True):
            if id(leaf) in columns:
                trunk.append(leaf)
            else:
                heads.append((leaf, mask))
        return Graph(self._columns, trunk, heads, (), found, found)

    def settle(self, tasks: Sequence[int], found: Sequence[Tensor]) -> Sequence[Tensor]:
        """The shared parameters, if these are those that several of these tasks reach."""
        if not self._given:
            self._learn(tasks, found)
        return self._columns

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


def _trainable(shared: Iterable[Tensor]) -> list[Tensor]:
    """Without frozen ones; every parameter once."""
    leaves = list(dict.fromkeys(leaf for leaf in shared if leaf.requires_grad))
    if not leaves:
        raise InvalidArgument("`shared` must hold at least one trainable parameter; got none.")
    return leaves
