"""Memory for intermediate results that is taken once and used in every update."""

from collections.abc import Hashable
from typing import final

import torch
from torch import Tensor


@final
class Scratch:
    """Tensors without content, kept by form: fresh pages cost more than the arithmetic on a CPU.

    Whoever asks for the same form and place gets the same memory again, so that nothing in it
    outlives the call. It is no state: results never depend on what was there before.

    Example:
        >>> scratch = Scratch()
        >>> first = scratch.like(torch.zeros(2, 3))
        >>> scratch.like(torch.ones(2, 3)) is first, scratch.like(torch.ones(2, 3), 1) is first
        (True, False)
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Tensor] = {}

    def like(self, tensor: Tensor, place: int = 0) -> Tensor:
        """Memory of a tensor's shape, strides, dtype and device.

        Args:
            tensor: The form.
            place: Tells apart what is needed at the same time.
        """
        key = (place, tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = torch.empty_like(tensor)
        return kept

    def number(self, value: float, like: Tensor) -> Tensor:
        """A number as a tensor without dimensions, which broadcasts without a conversion."""
        key = (value, like.dtype, like.device)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = like.new_full((), value)
        return kept

    def __reduce__(self) -> tuple[type["Scratch"], tuple[()]]:
        return Scratch, ()  # copies and pickles of a penalty carry no memory
