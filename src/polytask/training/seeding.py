"""A random scope of the trainer's own: seeded, checkpointed, and given back."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import Tensor


@final
class RandomScope:
    """Runs a block on its own random stream and restores the caller's global state afterwards.

    torch's own layers (dropout, initialisation) draw from the global generators; inside the scope
    those start from `seed`, and `state_dict` / `load_state_dict` save and restore the position, so
    that a resumed run continues the stream where it stopped.

    Args:
        seed: Start of the stream.
        cuda: Whether the generators of CUDA devices belong to the scope too.

    Example:
        >>> before = torch.get_rng_state()
        >>> with RandomScope(1):
        ...     first = torch.rand(2)
        >>> with RandomScope(1):
        ...     again = torch.rand(2)
        >>> bool((first == again).all()), bool((torch.get_rng_state() == before).all())
        (True, True)
    """

    def __init__(self, seed: int, *, cuda: bool = False) -> None:
        self._seed = seed
        self._cuda = cuda
        self._outer: list[Tensor] = []

    def __enter__(self) -> Self:
        self._outer = self._states()
        torch.default_generator.manual_seed(self._seed)
        if self._cuda:
            torch.cuda.manual_seed_all(self._seed)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore(self._outer)

    def _states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        return states + torch.cuda.get_rng_state_all() if self._cuda else states

    def _restore(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._cuda:
            torch.cuda.set_rng_state_all(states[1:])

    def state_dict(self) -> dict[str, Any]:
        """Position of every generator of the scope."""
        return {"generators": self._states()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues at a saved position."""
        self._restore([state.to(torch.uint8).cpu() for state in state_dict["generators"]])


@final
class Replay:
    """Remembers the position of the random streams, to draw the same numbers once more.

    Args:
        device: Whose generator is remembered besides the CPU's.

    Example:
        >>> replay = Replay(torch.device("cpu"))
        >>> first = torch.rand(2)
        >>> with replay.again():
        ...     second = torch.rand(2)
        >>> bool((first == second).all()), bool((torch.rand(2) == first).all())
        (True, False)
    """

    def __init__(self, device: torch.device) -> None:
        self._devices = [device.index or 0] if device.type == "cuda" else []
        self._states = [torch.get_rng_state()]
        self._states += [torch.cuda.get_rng_state(index) for index in self._devices]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draws from the remembered position inside; goes on after it as if never rewound."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._states[0])
            for index, state in zip(self._devices, self._states[1:], strict=True):
                torch.cuda.set_rng_state(state, index)
            yield
