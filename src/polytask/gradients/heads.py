"""What only one task reaches."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from .call import Call, Settings, backward, positions_of
from .leaves import add_gradients
from .reach import Reach

Part = tuple[Tensor, Tensor, int | None]
"""A leaf, its gradient at weight 1, and the task it came from if that is known."""


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


def write_heads(
    call: Call,
    parts: Sequence[Part],
    weights: Tensor,
    settings: Settings,
    heads: Sequence[Tensor],
    *,
    branched: bool,
) -> None:
    """Adds the gradients of the heads to ``.grad``, at the weight that the user chose."""
    weighted = settings.heads == "weighted"
    if weighted and branched:
        # One pass through all heads cannot tell whose gradient it was: one more, with weights.
        backward(call.losses.tensors, call.seeds(weights), keep=call.keep, inputs=heads)
    total: dict[int, tuple[Tensor, Tensor]] = {}
    for leaf, gradient, k in parts:
        part = gradient * weights[k].to(gradient) if weighted and k is not None else gradient
        before = total.get(id(leaf))
        total[id(leaf)] = (leaf, part if before is None else before[1] + part)
    add_gradients([leaf for leaf, _ in total.values()], [g for _, g in total.values()], owned=False)
