"""Random numbers that belong to one method and are saved with it."""

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@final
class RandomSource(nn.Module):
    """A seeded generator of its own: the global one is neither read nor moved.

    Its state is part of ``state_dict()``, so that a resumed run draws what an uninterrupted one
    would have drawn. It draws on the host, so that runs on different devices draw the same.

    Args:
        seed: Any integer; two sources with the same seed draw the same.

    Example:
        >>> source = RandomSource(7)
        >>> saved = source.state_dict()
        >>> first = source.uniform(3)
        >>> source.load_state_dict(saved)
        <All keys matched successfully>
        >>> bool((source.uniform(3) == first).all())
        True
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Numbers drawn uniformly from [0, 1)."""
        return torch.rand(*shape, generator=self._generator, dtype=dtype)

    def orders(self, size: int) -> NDArray[np.int64]:
        """For each of `size` tasks a random permutation of the others, [size, size - 1]."""
        keys = self.uniform(size, size).numpy()
        np.fill_diagonal(keys, np.inf)
        return np.argsort(keys, axis=1)[:, :-1]

    def reset(self) -> None:
        """Starts again at the seed."""
        self._generator.manual_seed(self.seed)

    def get_extra_state(self) -> Tensor:
        """State of the generator."""
        return self._generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        """Restores the state of the generator."""
        self._generator.set_state(state.cpu())
