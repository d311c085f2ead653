"""What an update moves besides parameters, so that an update that is skipped leaves no trace."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from polytask.balancing import LinearBalancer


@final
@dataclass(frozen=True)
class Moved:
    """Copies of one moment; made and read by `Moving`."""

    buffers: tuple[Tensor, ...]
    balance: Mapping[str, Any] | None


@final
class Moving:
    """Running statistics of the model and the state of the balancing method.

    Args:
        model: Its buffers are copied if they are part of its state; constants are not.
        balance: Its whole state is copied, generators included; a `LinearBalancer` has none that
            an update moves.
    """

    def __init__(self, model: nn.Module, balance: nn.Module) -> None:
        kept = model.state_dict(keep_vars=True)
        self._modules = [
            module
            for name, module in model.named_modules()
            if any(
                (f"{name}.{key}" if name else key) in kept
                for key, _ in module.named_buffers(recurse=False)
            )
        ]
        self._balance = balance
        self._stateful = not isinstance(balance, LinearBalancer) and bool(balance.state_dict())

    def save(self) -> Moved:
        """The state of now."""
        return Moved(tuple(b.clone() for b in self._buffers()), self._method())

    def statistics(self) -> Moved:
        """The same without the method, for passes that do not ask it."""
        return Moved(tuple(b.clone() for b in self._buffers()), None)

    def restore(self, moved: Moved) -> None:
        """Back to a saved state."""
        for buffer, value in zip(self._buffers(), moved.buffers, strict=True):
            buffer.copy_(value)
        if moved.balance is not None:
            self._balance.load_state_dict(moved.balance)

    def _buffers(self) -> list[Tensor]:
        return [b for module in self._modules for b in module.buffers(recurse=False)]

    def _method(self) -> Mapping[str, Any] | None:
        if not self._stateful:
            return None
        return {
            name: value.detach().clone() if isinstance(value, Tensor) else value
            for name, value in self._balance.state_dict().items()
        }
