"""How the tasks pull at the shared weights: norms and cosines of their gradients, once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrunkGradients:
    """Gradients of the task losses with respect to the weights that all tasks share.

    Args:
        tasks: Names of the measured tasks.
        rows: Training rows on which they were measured.
        parameters: Shared weights.
        norms: Norm of each task's gradient.
        cosines: Cosine of every pair, a symmetric matrix; None where a gradient is zero.
    """

    tasks: tuple[str, ...]
    rows: int
    parameters: int
    norms: tuple[float, ...]
    cosines: tuple[tuple[float | None, ...], ...]
