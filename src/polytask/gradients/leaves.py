"""Adding gradients to parameters the way a backward pass does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def has_hooks(leaf: Tensor) -> bool:
    """Whether the user asked to see or change the gradient of a parameter."""
    return bool(leaf._backward_hooks) or bool(leaf._post_accumulate_grad_hooks)


@contextmanager
def hooks_at_rest(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Inside, task gradients are measured without the hooks that belong to the final gradient."""
    hooked = [(leaf, leaf._backward_hooks) for leaf in leaves if leaf._backward_hooks]
    try:
        for leaf, _ in hooked:
            leaf._backward_hooks = None
        yield
    finally:
        for leaf, hooks in hooked:
            leaf._backward_hooks = hooks


def add_gradients(leaves: Sequence[Tensor], gradients: Sequence[Tensor], *, owned: bool) -> None:
    """``leaf.grad += gradient``, with hooks, layout and dtype as in a backward pass.

    Args:
        leaves: Parameters.
        gradients: One of the same shape each.
        owned: Nobody else holds the memory of the gradients, so they may become ``.grad``.
    """
    for leaf, gradient in zip(leaves, gradients, strict=True):
        value = gradient if gradient.dtype == leaf.dtype else gradient.to(leaf.dtype)
        if has_hooks(leaf):
            torch.autograd.backward([leaf], [value])
        elif leaf.grad is not None:
            leaf.grad.add_(value)
        elif owned and leaf.is_contiguous():
            leaf.grad = value
        else:
            leaf.grad = torch.empty_like(leaf).copy_(value)
