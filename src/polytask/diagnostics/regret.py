"""Which task would have stopped when: relative regret per task and epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Regret:
    """A task × epoch matrix.

    Args:
        epochs: The epochs of its columns, thinned where there are many.
        tasks: Names, in the user's order.
        values: Per task, (L_t(e) − L_t*) / |B_t|; None where not measured.
        kept: Epoch whose weights were kept.
        own: Per task the epoch of its own lowest loss.
        at_kept: Per task the regret at the kept epoch.
        mean: Mean over the tasks, per epoch.
    """

    epochs: tuple[int, ...]
    tasks: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    kept: int
    own: tuple[int, ...]
    at_kept: tuple[float | None, ...]
    mean: tuple[float | None, ...]
