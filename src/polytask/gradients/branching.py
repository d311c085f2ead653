"""The place where tasks part: one representation in, one copy per task out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final
from weakref import WeakSet

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node

from polytask._checks import require


@final
class Branch:
    """What the node of a branch in the graph knows.

    Args:
        tasks: Names, one per copy.
        representation: The tensor that was copied.
    """

    def __init__(self, tasks: Sequence[str], representation: Tensor) -> None:
        self.tasks = tuple(tasks)
        self.representation = representation
        self.weights: Sequence[Tensor] | None = None
        """Factor of each copy's gradient on its way into the trunk; None: ones."""


_LIVE: "WeakSet[Branch]" = WeakSet()


def any_branch() -> bool:
    """Whether some graph in this process has a branch: only then a loss-level step looks for it."""
    return len(_LIVE) > 0


NODE = "_CopiesBackward"


@final
class _Copies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, representation: Tensor, branch: Branch) -> tuple[Tensor, ...]:
        ctx.polytask_branch = branch
        ctx.set_materialize_grads(False)
        return tuple(representation.view_as(representation) for _ in branch.tasks)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        branch: Branch = ctx.polytask_branch
        total: Tensor | None = None
        for k, gradient in enumerate(gradients):
            if gradient is None:
                continue
            if branch.weights is None:
                total = gradient if total is None else total + gradient
                continue
            weight = branch.weights[k].to(gradient)
            total = gradient * weight if total is None else total.addcmul_(gradient, weight)
        return total, None


def branch(representation: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
    """One copy of the shared representation per task; the place where tasks part.

    The copies equal the representation and cost no memory. Backwards, the gradient of copy k is
    multiplied by the weight of task k on its way into the trunk, so that one ordinary backward pass
    weighs the trunk and leaves the gradients of the heads at weight 1. It also tells
    `MultiTaskBackward` that the loss of task k depends on copy k only, so that one pass yields the
    gradients of all tasks at the representation and of all heads, even where equal heads are
    computed in one stacked product and nobody could tell from the graph. What comes after the
    branch belongs to the heads. Without `MultiTaskBackward` all weights are 1.

    Args:
        representation: Output of the trunk, any shape.
        tasks: Names of the tasks, as in the losses, in their order if those are a list.

    Shapes:
        representation any → one of the same shape per task.

    Raises:
        InvalidArgument: If the names are not all different.

    Example:
        >>> z = torch.ones(2, 3, requires_grad=True)
        >>> copies = branch(z, ["a", "b"])
        >>> (copies["a"].sum() + 2 * copies["b"].sum()).backward()
        >>> z.grad[0]
        tensor([3., 3., 3.])

    Note:
        The copies are views: changing one in place is an error, because it would change all.
    """
    require(len(set(tasks)) == len(tasks), "tasks", "hold different names", list(tasks))
    holder = Branch(tasks, representation)
    if representation.requires_grad:
        _LIVE.add(holder)
    copies: tuple[Tensor, ...] = _Copies.apply(representation, holder)  # type: ignore[no-untyped-call]  # torch's
    return dict(zip(tasks, copies, strict=True))


def branch_of(node: Node) -> Branch | None:
    """The branch that made a node of that name."""
    found = vars(node).get("polytask_branch")
    return found if isinstance(found, Branch) else None


@contextmanager
def weighing(
    branches: Sequence[Branch], names: Sequence[str], keyed: bool, weights: Tensor
) -> Iterator[None]:
    """Inside, the branches multiply by the weights of the tasks."""
    positions = {name: k for k, name in enumerate(names)}
    try:
        for one in branches:
            parts = weights.unbind()
            one.weights = [
                parts[positions[name] if keyed else k] for k, name in enumerate(one.tasks)
            ]
        yield
    finally:
        for one in branches:
            one.weights = None
