"""The averaged copy of a model's parameters, and how it takes their place for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from polytask._checks import require


@final
class AveragedWeights:
    """One tensor per parameter of a model, in the order of ``named_parameters()``.

    Buffers, such as running statistics, are not averaged: those of the model stay in use.

    Args:
        model: Its floating-point parameters are averaged; others do not occur.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names = [name for name, _ in model.named_parameters()]
        self.tensors = [parameter.detach().clone() for parameter in model.parameters()]
        # Walking through the modules after every update would cost more than the average itself.
        self._of = model
        self._weights: list[Tensor] = list(model.parameters())

    @torch.no_grad()
    def copy_from(self, model: nn.Module) -> None:
        """The average becomes the model's present weights."""
        torch._foreach_copy_(self.tensors, self._parameters(model))

    @torch.no_grad()
    def move_towards(self, model: nn.Module, share: float) -> None:
        """Average ← average + share · (weights − average)."""
        torch._foreach_lerp_(self.tensors, self._parameters(model), share)

    def _parameters(self, model: nn.Module) -> list[Tensor]:
        return self._weights if model is self._of else list(model.parameters())

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """The model holds the average inside, and its own weights afterwards, also after errors."""
        own = [parameter.detach().clone() for parameter in model.parameters()]
        with torch.no_grad():
            torch._foreach_copy_(list(model.parameters()), self.tensors)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(model.parameters()), own)

    def state_dict(self) -> dict[str, Tensor]:
        """The average by the names of the parameters."""
        return dict(zip(self.names, self.tensors, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        require(list(state_dict) == self.names, "state", f"hold {self.names}", list(state_dict))
        own = self.state_dict()
        for name, tensor in own.items():  # copying would stretch a shorter tensor
            shape, wanted = tuple(state_dict[name].shape), tuple(tensor.shape)
            require(shape == wanted, f"state of {name!r}", f"have the shape {wanted}", shape)
        for name, tensor in own.items():
            tensor.copy_(state_dict[name])
