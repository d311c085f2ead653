"""Inputs on which the laws of aggregation are checked."""

from collections.abc import Iterator

import torch
from torch import Tensor


def random_jacobian(seed: int, tasks: int, params: int | None = None) -> Tensor:
    """Gaussian gradients, with more conflict the more tasks there are, over a decade of sizes."""
    generator = torch.Generator().manual_seed(seed)
    width = max(3, (3 * tasks) // 2) if params is None else params
    rows = torch.randn(tasks, width, generator=generator, dtype=torch.float64)
    return rows * 10.0 ** torch.rand(tasks, 1, generator=generator, dtype=torch.float64)


def unequal_jacobian(seed: int, tasks: int) -> Tensor:
    """Gaussian gradients whose sizes spread over six decades."""
    sizes = torch.logspace(-6, 0, tasks, dtype=torch.float64)
    return random_jacobian(seed, tasks) * sizes[:, None]


def degenerate_jacobians() -> dict[str, Tensor]:
    """Linearly dependent and vanishing gradients: all of them ordinary in training."""
    row = torch.tensor([[3.0, -1.0, 2.0, 0.5]], dtype=torch.float64)
    other = torch.tensor([[1.0, 2.0, 0.0, -1.0]], dtype=torch.float64)
    third = torch.tensor([[0.5, 0.5, -2.0, 1.0]], dtype=torch.float64)
    signs = torch.tensor([1.0, -1, 2, -3, 1, 1, -1, 4, -2, 0.5], dtype=torch.float64)
    sizes = torch.logspace(-15, 15, 5, dtype=torch.float64)
    return {
        "two equal rows": torch.cat([row, row, other]),
        "two opposite rows": torch.cat([row, -row]),
        "two opposite rows and a third": torch.cat([row, -row, other]),
        "rows that sum to zero": torch.cat([row, other, -row - other]),
        "rank one, ten tasks": signs[:, None] * row,
        "more tasks than parameters": random_jacobian(5, 30, 15),
        "sizes from 1e-15 to 1e15": random_jacobian(6, 5, 8) * sizes[:, None],
        "one zero row": torch.cat([row, 0 * row, other, third]),
        "one row left": torch.cat([row, 0 * row, 0 * row]),
        "all rows zero": torch.zeros(3, 4, dtype=torch.float64),
    }


def losses_for(jacobian: Tensor, step: int = 0) -> Tensor:
    """Positive losses, other ones at every step."""
    tasks = torch.arange(len(jacobian), dtype=jacobian.dtype)
    return (1.0 + tasks) * (1.0 + 0.1 * torch.sin(tasks + step))


SIZES = (2, 3, 5, 9)


def ordinary() -> Iterator[tuple[str, Tensor]]:
    """Named Jacobians of full or nearly full rank."""
    for tasks in SIZES:
        for seed in range(4):
            yield f"{tasks} tasks, seed {seed}", random_jacobian(seed, tasks)
        yield f"{tasks} tasks, sizes over six decades", unequal_jacobian(tasks, tasks)


def scalings() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """A Jacobian and two vectors of positive scales for its rows."""
    for tasks in SIZES:
        one = torch.logspace(-3, 2, tasks, dtype=torch.float64)[:, None]
        yield random_jacobian(40 + tasks, tasks), one, one.flip(0)
