"""Random numbers that belong to one method and are saved with it."""

from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@final
class RandomSource(nn.Module):
    """A seeded generator of its own: the global one is neither read nor moved.

    The state of the generator is a buffer. It is therefore part of ``state_dict()``, so that a
    resumed run draws what an uninterrupted one would have drawn, and whoever copies the buffers
    before an update and back after it has taken the draws back as well. It stays on the host and
    draws there, whatever ``.to(...)`` is called on the model around it, so that runs on different
    devices draw the same.

    Args:
        seed: Any integer; two sources with the same seed draw the same.

    Example:
        >>> source = RandomSource(7)
        >>> saved = {name: value.clone() for name, value in source.state_dict().items()}
        >>> first = source.uniform(3)
        >>> source.load_state_dict(saved)
        <All keys matched successfully>
        >>> bool((source.uniform(3) == first).all())
        True
    """

    state: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self._generator = torch.Generator().manual_seed(seed)
        self.register_buffer("state", self._generator.get_state())

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Numbers drawn uniformly from [0, 1)."""
        self._generator.set_state(self.state)
        drawn = torch.rand(*shape, generator=self._generator, dtype=dtype)
        self.state.copy_(self._generator.get_state())
        return drawn

    def normal(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Numbers drawn from the standard normal distribution."""
        self._generator.set_state(self.state)
        drawn = torch.randn(*shape, generator=self._generator, dtype=dtype)
        self.state.copy_(self._generator.get_state())
        return drawn

    def orders(self, size: int) -> NDArray[np.int64]:
        """For each of `size` tasks a random permutation of the others, [size, size - 1]."""
        keys = self.uniform(size, size).numpy()
        np.fill_diagonal(keys, np.inf)
        return np.argsort(keys, axis=1)[:, :-1]

    def reset(self) -> None:
        """Starts again at the seed."""
        self.state.copy_(self._generator.manual_seed(self.seed).get_state())

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Keeps the state on the host."""
        return self
