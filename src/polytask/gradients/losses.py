"""The losses of one update, however they were handed over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from polytask._checks import require
from polytask.errors import InvalidArgument, Unsupported

GATHERED = (
    "`losses` must be a mapping or a list of separate losses; got one stacked vector, of which "
    "every entry depends on every head, so that K tasks cost K² head passes. Pass the losses as "
    "they were before stacking, or put polytask.branch between trunk and heads."
)


@dataclass(frozen=True)
class Losses:
    """Losses in the user's order.

    Args:
        names: Names of the tasks; positions as text for a list.
        entries: One scalar per task; None for a task without labels in this update.
        keyed: Whether they came as a mapping.
        stacked: The vector, if they came as one (for loss balancers only).
    """

    names: tuple[str, ...]
    entries: tuple[Tensor | None, ...]
    keyed: bool
    stacked: Tensor | None = None

    @cached_property
    def tasks(self) -> list[int]:
        """Positions of the present tasks."""
        return [k for k, entry in enumerate(self.entries) if entry is not None]

    @cached_property
    def tensors(self) -> list[Tensor]:
        """Losses of the present tasks."""
        return [entry for entry in self.entries if entry is not None]

    def values(self) -> Tensor:
        """[tasks], detached, at least float32; zero for absent tasks."""
        if self.stacked is not None:
            return self.stacked.detach().to(promoted(self.stacked.dtype)).clone()
        given = self.tensors
        if not given:
            return torch.zeros(len(self.entries))
        kind = given[0].dtype
        for entry in given:
            if entry.dtype != kind:
                kind = torch.promote_types(kind, entry.dtype)
        kind = promoted(kind)
        with torch.no_grad():
            if len(given) == len(self.entries):
                flat = [entry if entry.dim() == 0 else entry.reshape(()) for entry in given]
                return torch.stack(flat).to(kind)
            nothing = torch.zeros((), dtype=kind, device=given[0].device)
            return torch.stack(
                [nothing if entry is None else entry.reshape(()) for entry in self.entries]
            ).to(kind)

    def present(self, device: torch.device) -> Tensor:
        """[tasks], False for absent ones."""
        if len(self.tasks) == len(self.names) or self.stacked is not None:
            return torch.ones(len(self.names), dtype=torch.bool, device=device)
        here = [entry is not None for entry in self.entries]
        return torch.tensor(here, dtype=torch.bool, device=device)


def promoted(kind: torch.dtype) -> torch.dtype:
    """At least float32."""
    if kind in (torch.float32, torch.float64):
        return kind
    return torch.promote_types(kind, torch.float32)


def read_losses(
    losses: Mapping[str, Tensor | None] | Sequence[Tensor | None] | Tensor, *, vector_allowed: bool
) -> Losses:
    """Checks what was handed over.

    Raises:
        InvalidArgument: A loss is not a scalar or has no gradient, or there is none.
        Unsupported: A stacked vector where its entries would be differentiated one by one.
    """
    if isinstance(losses, Tensor):
        if not vector_allowed:
            raise Unsupported(GATHERED)
        require(losses.dim() == 1 and len(losses) > 0, "losses", "be [tasks]", list(losses.shape))
        _check_gradient("losses", losses)
        names = tuple(str(k) for k in range(len(losses)))
        return Losses(names, (), keyed=False, stacked=losses)
    if isinstance(losses, Mapping):
        read = Losses(tuple(losses), tuple(losses.values()), keyed=True)
    else:
        read = Losses(tuple(str(k) for k in range(len(losses))), tuple(losses), keyed=False)
    require(len(read.names) > 0, "losses", "hold at least one loss", losses)
    for name, entry in zip(read.names, read.entries, strict=True):
        if entry is None:
            continue
        if not isinstance(entry, Tensor) or entry.numel() != 1:
            shape = list(entry.shape) if isinstance(entry, Tensor) else type(entry).__name__
            raise InvalidArgument(
                f"`losses[{name!r}]` must be a scalar tensor; got {shape}. Take its mean."
            )
        _check_gradient(f"losses[{name!r}]", entry)
    return read


def _check_gradient(what: str, loss: Tensor) -> None:
    if not loss.requires_grad:
        raise InvalidArgument(
            f"`{what}` must depend on a trainable parameter; it has no gradient. Give None for a "
            f"task without labels in this update."
        )
