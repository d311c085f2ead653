"""Preference vectors: how much the user cares for each task."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polytask._checks import require
from polytask._linalg import Array


def check_preference(preference: Sequence[float] | None) -> Array | None:
    """A preference as an array, or None for equal ones; raises on negative or zero-sum input."""
    if preference is None:
        return None
    values = np.asarray(preference, dtype=np.float64)
    valid = values.ndim == 1 and bool((values > 0.0).all() and np.isfinite(values).all())
    require(
        valid and values.size > 0, "preference", "hold one positive number per task", preference
    )
    return values


def preference_of(preference: Array | None, tasks: NDArray[np.int64], num_tasks: int) -> Array:
    """The preference of the present tasks, summing to one."""
    if preference is None:
        return np.full(tasks.size, 1.0 / tasks.size)
    require(
        preference.size == num_tasks,
        "preference",
        f"hold one number for each of the {num_tasks} tasks",
        preference.tolist(),
    )
    chosen = preference[tasks]
    return np.asarray(chosen / chosen.sum())
