"""Inputs on which the laws of aggregation are checked."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TASKS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 40)
_SHARES = (0.12, 0.12, 0.12, 0.1, 0.1, 0.1, 0.1, 0.06, 0.06, 0.05, 0.04, 0.02, 0.01)


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


def constructed_gramian(rng: np.random.Generator) -> NDArray[np.float64]:
    """A Gramian whose cosine matrix has a condition up to 1e8, of norms over up to six decades.

    2 to 40 tasks of four kinds: random directions, nearly Pareto stationary, nearly on one line,
    and Gaussian gradients.
    """
    size = int(rng.choice(_TASKS, p=_SHARES))
    kind, condition = rng.choice(4), 10.0 ** (8.0 * rng.random())
    if kind == 0:  # random directions, log-uniform spectrum
        basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
        values = condition ** -rng.random(size)
        values[0], values[-1] = 1.0, 1.0 / condition
        matrix = (basis * values) @ basis.T
    elif kind == 1:  # nearly Pareto stationary: the small eigenvector is positive
        start = rng.standard_normal((size, size))
        start[:, 0] = np.abs(start[:, 0]) + 0.05
        basis, _ = np.linalg.qr(start)
        values = 0.1 + 0.9 * rng.random(size)
        values[0] = 1.0 / condition
        matrix = (basis * values) @ basis.T
    elif kind == 2:  # all along one line, with signs
        noise = rng.standard_normal((size, size)) / np.sqrt(size * condition)
        rows = np.column_stack([np.sign(rng.standard_normal(size)), noise])
        matrix = rows @ rows.T
    else:
        rows = rng.standard_normal((size, max(3, (3 * size) // 2)))
        matrix = rows @ rows.T
    root = np.sqrt(np.diagonal(matrix))
    matrix = matrix / root[:, None] / root
    np.fill_diagonal(matrix, 1.0)
    values = np.linalg.eigvalsh(matrix)
    if values[0] < 1e-8 * values[-1]:
        matrix += (1.05e-8 * values[-1] - values[0]) * np.eye(size)
        matrix /= matrix[0, 0]
    norms = 10.0 ** (rng.random(size) * rng.choice([0, 3, 6]) - 3)
    gramian = norms[:, None] * matrix * norms
    return np.asarray(0.5 * (gramian + gramian.T))
